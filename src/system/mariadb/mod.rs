//! MariaDB: connections, the catalog, what its errors mean.

mod applied;
pub mod catalog;
pub mod connect;
pub mod execute;
pub mod failure;
mod fit;
pub mod migrate;
pub mod quote;
mod run;
pub mod sweep;
mod system;

pub use applied::applied;
pub use system::{System, Unread};
