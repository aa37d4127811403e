//! One batch of tickets from lease to certificate: the orchestration of the pure core, the
//! adapters and the store.
//!
//! The order of a ticket: [`intake`] finds whom it is about, [`batch`] erases on one system after
//! the other (places in those that are no databases first, see `places`), [`sweep`] searches for what is left, [`certify`] signs and closes, and [`deferral`]
//! comes back for what the law kept; [`holds`] are asked before every COMMIT. Each step is durable before the next begins, and each may be
//! done twice without harm.

mod agreement;
pub mod batch;
pub mod certify;
pub mod clock;
pub mod context;
mod database;
pub mod deferral;
pub mod forecast;
pub mod foresee;
pub mod holds;
pub mod identity;
pub mod in_doubt;
pub mod intake;
mod lost;
mod places;
pub mod proof;
mod recall;
pub mod recheck;
pub mod record;
mod shared;
mod signs;
pub(crate) mod subscribers;
pub mod sweep;
pub mod under_way;

pub use places::{NOT_BELIEVED, nobodys_things, unbelievable};

/// A place where tests may kill the process, or make the step fail; nothing in a release.
pub(crate) fn crash_point(name: &str) {
    fail::fail_point!(name, |_| std::process::abort());
    let _ = name;
}

/// `FAILPOINTS=lease-unwatched=return`: nobody looks whether the lease still stands, and only its token keeps who is
/// too late from writing.
pub(crate) fn unwatched() -> bool {
    fail::fail_point!("lease-unwatched", |_| true);
    false
}
