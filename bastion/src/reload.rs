//! Another configuration while the service runs: when it is read, what is told of it.
//!
//! What holds: one with faults is reported, once as long as it stays the same, and the old one
//! stays in force; what changes is told before it does.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{debug, error, info};

use crate::config::{self, Changes, Config};

/// The configuration that is in force, and where it is read from.
pub(crate) struct Reload {
    file: PathBuf,
    current: Arc<Config>,
    /// What was last found wrong.
    told: Vec<String>,
}

/// Another configuration that could be used.
pub(crate) struct News<T> {
    /// What it changes.
    pub(crate) changes: Changes,
    config: Arc<Config>,
    parts: T,
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
            told: Vec::new(),
        }
    }

    /// Reads the files and makes ready what they say, by `prepare`; nothing is changed or told yet.
    ///
    /// # Errors
    /// What is wrong, a line each.
    pub(crate) fn look<T, E: Display>(
        &self,
        prepare: impl FnOnce(&Config) -> Result<T, E>,
    ) -> Result<News<T>, Vec<String>> {
        let config = config::load(&self.file)
            .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let parts = prepare(&config).map_err(|fault| vec![fault.to_string()])?;
        Ok(News {
            changes: Changes::between(&self.current, &config),
            config: Arc::new(config),
            parts,
        })
    }

    /// Tells of what was read. The new configuration, which is in force from now on, if it is to
    /// be used.
    pub(crate) fn take<T>(
        &mut self,
        asked: Asked,
        read: Result<News<T>, Vec<String>>,
    ) -> Option<(Arc<Config>, T)> {
        let news = match read {
            Ok(news) => news,
            Err(faults) => {
                self.refuse(faults, asked);
                return None;
            }
        };
        let repaired = !std::mem::take(&mut self.told).is_empty();
        if news.changes.is_empty() {
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
        for line in news.changes.lines() {
            info!("the configuration changes: {line}");
        }
        for id in &news.changes.deliveries.removed {
            info!(
                "{id} is no longer delivered; what is there stays and ends by itself; to end it now: \
                 token-bastion revoke --account {} --service {} --schedd {}",
                id.account, id.service, id.schedd
            );
        }
        self.current = Arc::clone(&news.config);
        Some((news.config, news.parts))
    }

    fn refuse(&mut self, faults: Vec<String>, asked: Asked) {
        if asked == Asked::ByFiles && self.told == faults {
            return;
        }
        for fault in &faults {
            error!("the new configuration is not used: {fault}");
        }
        self.told = faults;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const TEXT: &str = "\
vault: {address: \"https://vault.test:8200\"}
schedds: {here: {directory: /creds}}
accounts: {a: {principal: a@T, keytab: /kt, schedds: [here], credentials: {cms: {}}}}
";

    struct Files(tempfile::TempDir, Reload);

    impl Files {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("c.yaml");
            fs::write(&file, TEXT).unwrap();
            let config = Arc::new(config::load(&file).unwrap());
            Self(folder, Reload::new(&file, config))
        }

        /// Writes the file and has it read; how many deliveries are wanted then, if it is used.
        fn read(&mut self, text: &str, asked: Asked) -> Option<usize> {
            fs::write(self.0.path().join("c.yaml"), text).unwrap();
            let read = self.1.look(|_| Ok::<_, String>(()));
            let (config, ()) = self.1.take(asked, read)?;
            Some(config.deliveries.len())
        }
    }

    #[test]
    fn files_are_used_when_they_say_something_else_and_a_person_always_gets_his_way() {
        let mut files = Files::new();
        let more = TEXT.replace("cms: {}", "cms: {}, cms_x: {}");
        assert_eq!(files.read(TEXT, Asked::ByFiles), None);
        assert_eq!(files.read(TEXT, Asked::ByPerson), Some(1));
        assert_eq!(files.read(&more, Asked::ByFiles), Some(2));
        assert_eq!(
            files.read(&more, Asked::ByFiles),
            None,
            "it is in force already"
        );
        assert_eq!(files.read(TEXT, Asked::ByFiles), Some(1));
    }

    #[test]
    fn one_with_faults_is_not_used_and_what_was_in_force_is_remembered() {
        let mut files = Files::new();
        let broken = TEXT.replace("keytab", "keytap");
        assert_eq!(files.read(&broken, Asked::ByFiles), None);
        let told = files.1.told.join("\n");
        assert!(told.contains("keytap: unknown key"), "{told}");
        assert_eq!(files.read(&broken, Asked::ByPerson), None);
        assert_eq!(
            files.read(TEXT, Asked::ByFiles),
            None,
            "nothing has changed after all"
        );
        assert!(files.1.told.is_empty());
    }

    #[test]
    fn one_that_cannot_be_made_ready_is_not_used_either() {
        let mut files = Files::new();
        let more = TEXT.replace("cms: {}", "cms: {}, cms_x: {}");
        fs::write(files.0.path().join("c.yaml"), more).unwrap();
        let refuse = |_: &Config| Err::<(), _>("CA file x cannot be used");
        let read = files.1.look(refuse);
        assert!(files.1.take(Asked::ByPerson, read).is_none());
        assert_eq!(files.1.told, ["CA file x cannot be used"]);
        assert_eq!(files.1.current.deliveries.len(), 1);
    }
}
