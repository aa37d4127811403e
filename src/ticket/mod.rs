//! Tickets as values: states, identifiers, clocks.

pub mod holidays;
pub mod sla;
