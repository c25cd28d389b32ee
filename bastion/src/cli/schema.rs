//! `schema`: the JSON schema of the configuration, for editors, or of the control socket, for programs.

use clap::Args;

use super::{CommandError, Done, print_json};
use crate::{api, config};

/// Arguments of `schema`.
#[derive(Debug, Args)]
pub(crate) struct SchemaArguments {
    /// Print the schema of the control socket instead, an `OpenAPI` document.
    #[arg(long)]
    control: bool,
}

/// Prints the schema.
pub(crate) fn schema(arguments: &SchemaArguments) -> Result<Done, CommandError> {
    print_json(&if arguments.control {
        api::schema::schema()
    } else {
        config::schema()
    })?;
    Ok(Done::Good)
}
