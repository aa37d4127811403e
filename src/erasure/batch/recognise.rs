//! Before anything is planned: are these people still who the tickets say?

use super::super::context::Planned;
use super::super::identity::{Identity, Mistaken};
use super::super::intake;
use super::{Run, Work};
use crate::store::StoreError;
use crate::system::postgres::execute::NotErased;

impl Run<'_> {
    /// Before anything is planned: are these people still who the tickets say? Values may have
    /// changed hands while a ticket waited. Returns those that are; the others fail.
    pub(super) async fn recognise(
        &mut self,
        planned: &Planned,
        work: Vec<Work>,
        began: bool,
    ) -> Result<Vec<Work>, StoreError> {
        let linked = planned.plan.identifiers();
        let people: Vec<&Identity> = work.iter().map(|w| &w.identity).collect();
        let found = match intake::who_has(self.context, &planned.policy, &linked, &people).await {
            Ok(found) => found,
            Err(unplanned) => {
                self.not_planned(&work, &unplanned).await?;
                return Ok(Vec::new());
            }
        };
        let (mut known, mut changed) = (Vec::with_capacity(work.len()), Vec::new());
        for (mut work, found) in work.into_iter().zip(found) {
            let ticket = &work.ticket;
            let begun = began || ticket.generation > 1 || ticket.taken_over;
            match work.identity.recognise(&found, &linked, begun) {
                Ok(shared) => {
                    if shared != work.identity.shared {
                        work.identity.shared = shared;
                        let key = &self.context.hash_key;
                        changed.push((
                            ticket.id,
                            work.identity.seal(key, ticket.id, rand::random()),
                        ));
                    }
                    known.push(work);
                }
                Err(Mistaken::OtherIdentity(identifier)) => {
                    let error = NotErased::OtherIdentity { identifier };
                    self.fail(ticket, "E0506", &error.to_string()).await?;
                }
                Err(Mistaken::Shared(name)) => {
                    let subject = &planned.plan.subject;
                    let problem = format!(
                        "another {subject} has the same {name}, and the policy links rows by it: whose they are cannot be told"
                    );
                    self.fail(ticket, "E0407", &problem).await?;
                }
            }
        }
        if !changed.is_empty() {
            self.context.store.seal(self.token, &changed).await?;
        }
        Ok(known)
    }
}
