//! `run`: the service.

use super::{Done, Failure};
use crate::cli::arguments::{Global, Service};
use crate::config::Watch;

/// Runs until it is told to stop.
pub(crate) fn run(global: &Global, service: Service) -> Result<Done, Failure> {
    let watch = Watch::begin(&global.config);
    service(&global.load()?, &global.config, watch)?;
    Ok(Done::Good)
}
