//! Tickets as values: states, identifiers, clocks.

pub mod clock;
pub mod holidays;
pub mod sla;
