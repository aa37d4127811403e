//! The core, proven on a real server: lineage, plan and execution, one test for each lesson that
//! others paid for (the number is in the name), a plan robbed of its statements one by one, and
//! random schemas against a naive oracle.

#![allow(clippy::unwrap_used)] // a test may

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/parts.rs"]
mod parts;

mod target;

mod documented;
mod held_rows;
mod hostile;
mod large;
mod lesson_02;
mod lesson_04;
mod lesson_05;
mod lesson_06;
mod lesson_07;
mod lesson_11;
mod mutation;
mod objects;
mod oracle;
mod scopes;
mod shapes;
mod strategies;
