//! PostgreSQL, versions 15 to 18.

mod capture;
pub mod catalog;
pub mod execute;
pub mod failure;
pub mod quote;
pub mod value;
