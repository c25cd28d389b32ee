//! `run`: the service.

use std::path::Path;

use super::{Done, Failure};
use crate::config::Config;
use crate::lifecycle;

/// Runs until it is told to stop.
pub(crate) fn run(config: &Config, file: &Path) -> Result<Done, Failure> {
    lifecycle::run(config, file)?;
    Ok(Done::Good)
}
