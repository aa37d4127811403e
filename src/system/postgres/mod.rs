//! PostgreSQL: the one way in which `erasured` connects to it, and the one place that decides
//! what of a database's error may be shown.
//!
//! [`libpq`] turns what a DBA writes (a URL, `key=value`, a service, the environment, `.pgpass`)
//! into [`libpq::Settings`]; [`connect`] opens sessions and pools from them with rustls;
//! [`failure`] says whether an error is worth another try, and describes it without row values.

pub mod connect;
pub mod failure;
pub mod libpq;
mod tls;
