//! The rest of a ticket goes on beside a hold on rows.
//!
//! What the hold covers stays, with all on which it hangs and all that hangs on it; the tables of
//! neither kind run now, as those of a scope that lists them would, under a plan of their own. Their
//! step says in the system itself what it left, so it is nobody's last: the ticket's generation ends
//! with it, as with a failure that a person mends, and when the hold has ended the next one plans the
//! whole anew. What it finds gone already it does not count again.

use super::super::context::Planned;
use super::super::crash_point;
use super::{Late, Run, Work};
use crate::name::QualifiedTable;
use crate::plan::SystemPlan;
use crate::store::StoreError;
use crate::system::postgres::execute::HeldRow;
use std::collections::{BTreeMap, BTreeSet};

impl Run<'_> {
    /// Does of these tickets what can be done while rows of theirs are held, on this system and those
    /// after it, and puts them on hold.
    pub(super) async fn beside(
        &mut self,
        planned: &Planned,
        part: &SystemPlan,
        work: Vec<Work>,
        found: Vec<HeldRow>,
    ) -> Result<(), StoreError> {
        let mut alike: BTreeMap<BTreeSet<QualifiedTable>, Vec<Work>> = BTreeMap::new();
        for work in work {
            let rows = found.iter().filter(|row| row.ticket == work.ticket.id);
            let tables = rows.map(|row| QualifiedTable {
                system: part.system.clone(),
                table: row.table.clone(),
            });
            alike.entry(tables.collect()).or_default().push(work);
        }
        // Of those whose own tables come to be covered on the way, this is still known.
        self.covered
            .extend(found.into_iter().map(|row| (row.ticket, row.hold)));
        for (held, work) in alike {
            let rest = match self.context.planned_beside(planned, &held).await {
                Ok(rest) => rest,
                Err(unplanned) if unplanned.is_transient() => {
                    self.not_planned(&work, &unplanned).await?;
                    continue;
                }
                Err(unplanned) => {
                    tracing::warn!(%unplanned, "what a legal hold does not cover cannot go on by itself; the tickets wait as a whole");
                    None
                }
            };
            crash_point("before-the-rest");
            let work = match rest {
                Some(rest) => self.rest(&rest, part, work).await?,
                None => work,
            };
            crash_point("after-the-rest");
            self.suspend(&work).await?;
        }
        Ok(())
    }

    /// Returns the tickets that got through.
    async fn rest(
        &mut self,
        rest: &Planned,
        from: &SystemPlan,
        mut work: Vec<Work>,
    ) -> Result<Vec<Work>, StoreError> {
        let units = rest.plan.units().into_iter();
        let units = units.skip_while(|unit| unit.iter().all(|part| part.system != from.system));
        for mut unit in units {
            unit.retain(|part| !part.changes.is_empty());
            if work.is_empty() || unit.is_empty() {
                continue;
            }
            let mut late = Late::new();
            work = Box::pin(self.one_unit(rest, &unit, work, &mut late)).await?;
            work = self.put_off(work, late).await?;
        }
        Ok(work)
    }
}
