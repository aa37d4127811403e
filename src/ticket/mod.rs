//! Tickets as values: states, identifiers, clocks.

pub mod clock;
pub mod danger;
pub mod holidays;
pub mod sla;
pub mod timeline;
pub mod words;
