//! `run`: the service.

use super::{CommandError, Done};
use crate::cli::arguments::{Global, Service};
use crate::config::Watch;

/// Runs the service until it is stopped.
pub(crate) fn run(global: &Global, service: Service) -> Result<Done, CommandError> {
    let watch = Watch::begin(&global.config);
    service(&global.load()?, &global.config, watch)?;
    Ok(Done::Good)
}
