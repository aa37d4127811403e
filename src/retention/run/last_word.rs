//! The last word before each COMMIT of a run.

use super::archives::Taking;
use super::{Passage, People};
use crate::erasure::holds::Gate;
use crate::plan::{self, Statement};
use crate::store::retention::Barred;
use crate::system::postgres::connect::ON_THE_WAY;
use crate::system::postgres::execute::{BeforeChange, Deferred, HandOver, NotErased, Seen};
use futures_util::future::BoxFuture;

/// Asked before each COMMIT, with all rows locked.
pub(super) struct LastWord<'a> {
    pub(super) passage: &'a Passage<'a>,
    /// Archives the rows.
    pub(super) taking: Option<Taking<'a>>,
    pub(super) gate: Gate,
    /// Of whom the rows were cleared.
    pub(super) people: People,
}

impl LastWord<'_> {
    /// Of what the transaction has come to. Holds can be placed again once it is over.
    pub(super) async fn heard<T>(mut self, outcome: Result<T, NotErased>) -> Result<T, NotErased> {
        if let Err(NotErased::CommitUnknown(unanswered)) = &outcome {
            let context = self.passage.context;
            self.gate.until_over(context, unanswered).await;
        }
        self.gate.close().await;
        if let (Err(_), Some(taking)) = (&outcome, self.taking) {
            taking.abort().await;
        }
        outcome
    }
}

impl BeforeChange for LastWord<'_> {
    /// What would have to be come back for is nobody's: no ticket remembers it. A rule that reaches such
    /// rows does not fit, so this is not met.
    fn ready(&mut self, _: Vec<Seen>, kept: Vec<Deferred>) -> BoxFuture<'_, Result<(), NotErased>> {
        let answer = match kept.first() {
            None => Ok(()),
            Some(kept) => Err(NotErased::Hook(format!(
                "{}: rows that hang on these are kept for a time of their own",
                kept.table
            ))),
        };
        Box::pin(std::future::ready(answer))
    }

    fn hand_over(&mut self) -> Option<&mut dyn HandOver> {
        self.taking.as_mut().map(|taking| taking as _)
    }

    fn last_word(&mut self) -> BoxFuture<'_, Result<(), NotErased>> {
        Box::pin(async {
            let passage = self.passage;
            let time = passage.context.config.limits.longest_statement() + ON_THE_WAY;
            let known = self.gate.known().to_vec();
            let asked = passage.context.store.permit_run(
                passage.run,
                passage.new,
                passage.system,
                &known,
                &self.people.kinds,
                &self.people.held.holds,
                time,
            );
            let refusal = |barred| match barred {
                Barred::Free => None,
                Barred::Held => Some(NotErased::Held(Vec::new())),
                Barred::Unread => Some(NotErased::HoldUnread),
                Barred::Lost => Some(NotErased::Hook("the run is another daemon's now".into())),
            };
            self.gate.admit(passage.context, asked, refusal).await
        })
    }

    fn committed(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.gate.close())
    }

    fn dated(&self) -> Option<Statement> {
        let prepared = self.passage.prepared;
        let due = &prepared.of.as_ref()?.due;
        plan::captured_days(self.passage.part()?, &prepared.rule.table.table, due)
    }
}
