//! `schema`: what may stand in the configuration, for editors.

use std::process::ExitCode;

use crate::cli::print_json;
use crate::config;

/// Prints the JSON schema.
pub(crate) fn schema() -> ExitCode {
    print_json(&config::schema());
    ExitCode::SUCCESS
}
