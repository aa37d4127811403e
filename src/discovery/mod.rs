//! From a database to the draft of a policy: what hangs off the person, what probably should
//! become of it, and why. Everything here is pure: the catalog and what samples have said come in
//! as values, text comes out.
//!
//! Nothing here has the last word. A suggestion is made only where the schema leaves little
//! doubt; everything else is `decide`, which keeps the policy from running.

mod content;
mod identifiers;
mod links;
mod names;
mod onward;
mod overlooked;
mod personal;
mod polymorphic;
mod propose;
mod questions;
mod render;
mod settle;
mod soft;
mod suggest;
#[cfg(test)]
mod tests;
mod update;
mod walk;

pub use content::{Content, Looks, look};
pub use overlooked::overlooked;
pub use polymorphic::Pair;
pub(crate) use polymorphic::{MOST_KINDS, kinds};
pub use propose::{Link, Proposal, Rule, Suggested};
pub use questions::{Questions, questions};
pub use settle::{Unfit, fresh};
pub use soft::{Candidate, Target};
pub use update::{Updated, update};

use crate::name::TableName;
use std::collections::BTreeMap;

/// What somebody wants a policy for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The registered system.
    pub system: String,
    /// The table whose row is the person.
    pub root: TableName,
    /// The subject kind, if they have named it.
    pub subject: Option<String>,
    /// Where telephone numbers without a country code are read.
    pub region: String,
}

/// What samples have said: verdicts and counts, never a value. The one exception are names of
/// types in polymorphic pairs, and of those only such as name a table of the catalog.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// By table and column.
    pub contents: BTreeMap<(TableName, String), Content>,
    /// How much of a soft link's sample has its other end.
    pub shares: BTreeMap<Candidate, Share>,
    /// The tables that a pair's type column names, with the words it uses.
    pub kinds: BTreeMap<Pair, Kinds>,
    /// Tables of which nothing could be read, and why.
    pub unread: BTreeMap<TableName, String>,
}

/// Of so many rows looked at, so many had their other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Had it.
    pub matched: u64,
    /// Were looked at.
    pub sampled: u64,
}

/// What a type column was seen to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    /// The words that name a table, with the table.
    pub known: Vec<(String, TableName)>,
    /// How many other values there were; they are not kept.
    pub others: usize,
}

impl Share {
    /// Whole per cent.
    pub fn percent(self) -> u64 {
        (self.matched * 100).checked_div(self.sampled).unwrap_or(0)
    }
}
