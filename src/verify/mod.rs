//! What is left of a person: values of a database against the identifiers sought, pure.

mod confirm;
mod escapes;
pub mod field;
pub mod matcher;
mod number;
pub mod returned;
mod signs;

pub use field::FieldKind;
pub use matcher::{Matcher, Needle, Scratch, Seek};
