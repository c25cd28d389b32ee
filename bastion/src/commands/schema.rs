//! `schema`: what may stand in the configuration, for editors.

use super::{Done, Failure, print_json};
use crate::config;

/// Prints the JSON schema.
pub(crate) fn schema() -> Result<Done, Failure> {
    print_json(&config::schema())?;
    Ok(Done::Good)
}
