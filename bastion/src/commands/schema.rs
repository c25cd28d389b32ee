//! `schema`: what may stand in the configuration, for editors.

use super::{Done, print_json};
use crate::config;

/// Prints the JSON schema.
pub(crate) fn schema() -> Done {
    print_json(&config::schema());
    Done::Good
}
