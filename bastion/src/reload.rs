//! Another configuration while the service runs: when it is read, what is told of it.
//!
//! What holds: one with faults is reported, once as long as it stays the same, and the old one
//! stays in force; what changes is told before it does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{debug, error, info, warn};

use crate::config::{self, Changes, Config};

/// The configuration that is in force, and where it is read from.
pub(crate) struct Reload {
    file: PathBuf,
    current: Arc<Config>,
    /// What was last found wrong.
    told: Option<String>,
}

/// Why a configuration is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A person wants it.
    ByPerson,
    /// Its files look different.
    ByFiles,
}

impl Reload {
    pub(crate) fn new(file: &Path, current: Arc<Config>) -> Self {
        Self {
            file: file.to_owned(),
            current,
            told: None,
        }
    }

    /// Reads the files again. The new configuration, made ready by `prepare`, if it is to be used.
    pub(crate) fn read<T, E: std::fmt::Display>(
        &mut self,
        asked: Asked,
        prepare: impl FnOnce(&Config) -> Result<T, E>,
    ) -> Option<(Arc<Config>, T)> {
        let read = config::load(&self.file).map_err(|faults| faults.to_string());
        let ready = read.and_then(|config| {
            let parts = prepare(&config).map_err(|fault| fault.to_string())?;
            Ok((Arc::new(config), parts))
        });
        let (config, parts) = match ready {
            Ok(ready) => ready,
            Err(faults) => {
                self.refuse(faults, asked);
                return None;
            }
        };
        let repaired = self.told.take().is_some();
        let changes = Changes::between(&self.current, &config);
        for warning in &config.warnings {
            warn!("{warning}");
        }
        if changes.is_empty() {
            // Whoever asks wants more than the same again: failures are to be tried at once.
            if asked == Asked::ByFiles {
                if repaired {
                    info!("the configuration is good again, nothing changes");
                } else {
                    debug!("the configuration's files were written, nothing changes");
                }
                return None;
            }
            info!("the configuration was read again, nothing changes");
        }
        for line in changes.lines() {
            info!("the configuration changes: {line}");
        }
        for id in &changes.deliveries.removed {
            info!(
                "{id} is no longer delivered; what is there stays and ends by itself; to end it now: \
                 token-bastion revoke --account {} --service {} --schedd {}",
                id.account, id.service, id.schedd
            );
        }
        self.current = Arc::clone(&config);
        Some((config, parts))
    }

    fn refuse(&mut self, faults: String, asked: Asked) {
        if asked == Asked::ByFiles && self.told.as_ref() == Some(&faults) {
            return;
        }
        for fault in faults.lines() {
            error!("the new configuration is not used: {fault}");
        }
        self.told = Some(faults);
    }
}
