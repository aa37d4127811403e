//! Reading policy files.
