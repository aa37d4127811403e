//! Adapters to what holds data: PostgreSQL and MariaDB in folders, every other kind in a file, behind [`place`].

pub mod command;
pub mod http;
pub mod mariadb;
pub mod memcached;
pub mod object_store;
pub mod place;
pub mod postgres;
pub mod redis;
