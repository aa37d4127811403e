//! Policies that are not finished: some rules say `action = "decide"`.
//!
//! `decide` is no [`super::Action`], so nothing that plans or executes can meet one: a [`Policy`]
//! comes out of a draft only when none is left.

use super::{Link, Policy, Span};
use crate::diagnostic::Diagnostic;
use crate::name::QualifiedTable;

/// A policy file as it was read, with what nobody has decided yet.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What is decided; incomplete as long as `open` is not empty.
    pub(super) policy: Policy,
    /// What is not, in the order of the file.
    pub(super) open: Vec<Open>,
}

/// One `[[table]]` with `action = "decide"`.
#[derive(Clone, Debug)]
pub struct Open {
    /// The table.
    pub table: QualifiedTable,
    /// As in [`super::TableRule`].
    pub via: Option<(String, Span)>,
    /// As in [`super::TableRule`].
    pub link: Option<Link>,
    /// The rule's `name = …`, for pointing at.
    pub span: Span,
    /// Where it says `decide`.
    pub action: Span,
}

impl Draft {
    /// The policy, if nothing is left to decide.
    ///
    /// # Errors
    /// One `E0119` for each rule that says `decide`.
    pub fn decided(self) -> Result<Policy, Vec<Diagnostic>> {
        if self.open.is_empty() {
            Ok(self.policy)
        } else {
            Err(self.left_to_decide())
        }
    }

    /// What is not decided, as errors with their places.
    pub fn left_to_decide(&self) -> Vec<Diagnostic> {
        let one = |open: &Open| {
            let way = match (&open.via, &open.link) {
                (Some((via, _)), _) => format!(", by {via}"),
                (None, Some(_)) => ", by its link".to_owned(),
                (None, None) => String::new(),
            };
            Diagnostic::error(
                "E0119",
                format!("{}{way}: nobody has decided yet what happens to its rows", open.table),
                "put delete, anonymize, detach, retain, shared or exempt in place of decide; until then \
                 nothing of this policy runs",
            )
            .at(&self.policy.source, open.action.clone())
        };
        self.open.iter().map(one).collect()
    }

    /// What is open, in the order of the file.
    pub fn open(&self) -> &[Open] {
        &self.open
    }

    /// What is decided so far: to be looked at and checked. It must not run while
    /// [`Draft::open`] has anything, which is why it cannot be taken out.
    pub(crate) fn so_far(&self) -> &Policy {
        &self.policy
    }
}
