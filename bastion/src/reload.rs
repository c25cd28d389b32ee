//! Another configuration while the service runs: when it is read, what is told of it.
//!
//! What holds: one with faults is reported, once as long as it stays the same, and the old one
//! stays in force; what changes is told before it does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{debug, error, info, warn};

use crate::config::{self, Changes, Config};
use crate::control::protocol::Reloaded;

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
    /// A person wants to know what would change, and nothing is to change.
    ToSay,
}

/// What came of reading.
pub(crate) struct Read<T> {
    /// What a person hears of it.
    pub(crate) said: Reloaded,
    /// The new configuration made ready, if it is to be used.
    pub(crate) new: Option<T>,
}

impl Reload {
    pub(crate) fn new(file: &Path, current: Arc<Config>) -> Self {
        Self {
            file: file.to_owned(),
            current,
            told: None,
        }
    }

    /// Reads the files again, and makes the new configuration ready by `prepare`.
    pub(crate) fn read<T, E: std::fmt::Display>(
        &mut self,
        asked: Asked,
        prepare: impl FnOnce(&Config) -> Result<T, E>,
    ) -> Read<(Arc<Config>, T)> {
        let read = config::load(&self.file).map_err(|faults| faults.to_string());
        let ready = read.and_then(|config| {
            let parts = prepare(&config).map_err(|fault| fault.to_string())?;
            Ok((Arc::new(config), parts))
        });
        let (config, parts) = match ready {
            Ok(ready) => ready,
            Err(faults) => {
                let said = Reloaded {
                    faults: faults.lines().map(str::to_owned).collect(),
                    ..Reloaded::default()
                };
                self.refuse(faults, asked);
                return Read { said, new: None };
            }
        };
        let changes = Changes::between(&self.current, &config);
        let said = Reloaded {
            used: asked != Asked::ToSay,
            faults: Vec::new(),
            changes: changes.lines(),
        };
        if asked == Asked::ToSay {
            return Read { said, new: None };
        }
        let repaired = self.told.take().is_some();
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
                return Read { said, new: None };
            }
            info!("the configuration was read again, nothing changes");
        }
        for line in &said.changes {
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
        Read {
            said,
            new: Some((config, parts)),
        }
    }

    fn refuse(&mut self, faults: String, asked: Asked) {
        let known = asked == Asked::ByFiles && self.told.as_ref() == Some(&faults);
        if known || asked == Asked::ToSay {
            return;
        }
        for fault in faults.lines() {
            error!("the new configuration is not used: {fault}");
        }
        self.told = Some(faults);
    }
}
