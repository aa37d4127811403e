//! Telling others what became of a ticket: callbacks and programs.
//!
//! What is told was written in the transaction that made it true (`sql/control/V6__outbox.sql`).
//! Here it leaves, at least once, in order per ticket: a message that cannot be delivered holds up
//! the later ones of its ticket and nothing else.

mod hook;
mod message;
pub mod opendsr;
mod post;
mod round;

pub use message::{Signed, backoff, sign};
pub use round::{Target, round, targets};

/// Why a try failed, as a code that is kept: never what the other side answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undelivered(String);

impl Undelivered {
    fn new(code: impl Into<String>) -> Self {
        Self(code.into())
    }

    /// The code.
    pub fn code(&self) -> &str {
        &self.0
    }
}
