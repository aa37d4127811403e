//! `kind = "command"`.

use crate::config::outbox::program;
use crate::reading::Table;

/// A program that finds and erases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// It and its arguments; no shell reads them.
    pub command: Vec<String>,
}

pub(super) fn read(table: &Table<'_>) -> Option<Command> {
    program(table).map(|command| Command { command })
}
