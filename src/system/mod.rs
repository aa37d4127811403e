//! Adapters to what holds data: one folder a kind of system.

pub mod postgres;
