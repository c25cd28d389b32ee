//! `run`: the service.

use super::{Done, Failure};
use crate::cli::Global;
use crate::config::Watch;
use crate::lifecycle;

/// Runs until it is told to stop.
pub(crate) fn run(global: &Global) -> Result<Done, Failure> {
    let watch = Watch::begin(&global.config);
    lifecycle::run(&global.load()?, &global.config, watch)?;
    Ok(Done::Good)
}
