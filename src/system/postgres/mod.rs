//! PostgreSQL.

pub mod quote;
