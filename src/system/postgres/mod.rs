//! PostgreSQL, versions 15 to 18.

pub(in crate::system) mod capture;
pub mod catalog;
pub mod connect;
pub mod discovery;
pub mod due;
pub mod execute;
pub mod failure;
pub mod forecast;
pub mod label;
pub mod libpq;
pub mod partition;
mod patroni;
pub mod prepared;
pub mod pressure;
pub mod quote;
pub mod readable;
pub mod returned;
mod spared;
pub mod sweep;
mod tls;
mod tuples;
pub mod vacuum;
pub mod value;
