//! Tickets as values: states, identifiers, clocks.

pub mod sla;
