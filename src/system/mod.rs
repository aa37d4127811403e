//! Adapters: what the outside world is asked to do, one folder a kind of system.

pub mod postgres;
