//! Clocks that a ticket runs against.
