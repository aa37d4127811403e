//! Adapters: what the outside world is asked to do, one module for each kind of system.

pub mod postgres;
