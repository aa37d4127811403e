//! `erasured openapi`.

use super::failure::Failure;
use crate::api;
use clap::Args;
use std::io::Write;

/// Print the OpenAPI document of the HTTP API.
#[derive(Args, Debug)]
pub(super) struct OpenApi {}

impl OpenApi {
    pub(super) fn execute(self) -> Result<(), Failure> {
        // A reader who has seen enough is no error.
        std::io::stdout().write_all(api::document().as_bytes()).ok();
        Ok(())
    }
}
