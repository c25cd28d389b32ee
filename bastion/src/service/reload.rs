//! Another configuration while the service runs: when it is read, what is told of it.
//!
//! What holds: one with faults is reported, once as long as it stays the same, and the old one
//! stays in force; what changes is told before it does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{debug, error, info};

use crate::api::bodies::Reloaded;
use crate::config::{self, Changes, Config, Cron};
use crate::system::files::CONFIGURATION;

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

    /// Times of checks that are in force.
    pub(crate) fn check(&self) -> &Cron {
        &self.current.check
    }

    /// Reads the files again, and makes the new configuration ready by `prepare`, on a thread of its
    /// own: both read files.
    pub(crate) async fn read<T: Send + 'static, E: std::fmt::Display>(
        &mut self,
        asked: Asked,
        prepare: impl FnOnce(&Config) -> Result<T, E> + Send + 'static,
    ) -> Read<(Arc<Config>, T)> {
        let file = self.file.clone();
        let work = move || {
            let config = config::load(&file).map_err(|faults| faults.to_string())?;
            let parts = prepare(&config).map_err(|fault| fault.to_string())?;
            Ok((Arc::new(config), parts))
        };
        let ready = CONFIGURATION.run(&self.file, work).await;
        let (config, parts) = match ready.unwrap_or_else(|failure| Err(failure.to_string())) {
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
        async fn read(&mut self, text: &str, asked: Asked) -> Option<usize> {
            fs::write(self.0.path().join("c.yaml"), text).unwrap();
            let read = self.1.read(asked, |_| Ok::<_, String>(())).await;
            let (config, ()) = read.new?;
            Some(config.deliveries.len())
        }
    }

    #[tokio::test]
    async fn files_are_used_when_they_say_something_else_and_a_person_always_gets_his_way() {
        let mut files = Files::new();
        let more = TEXT.replace("cms: {}", "cms: {}, cms_x: {}");
        assert_eq!(files.read(TEXT, Asked::ByFiles).await, None);
        assert_eq!(files.read(TEXT, Asked::ByPerson).await, Some(1));
        assert_eq!(files.read(&more, Asked::ByFiles).await, Some(2));
        assert_eq!(
            files.read(&more, Asked::ByFiles).await,
            None,
            "it is in force already"
        );
        assert_eq!(files.read(TEXT, Asked::ByFiles).await, Some(1));
    }

    #[tokio::test]
    async fn one_with_faults_is_not_used_and_what_was_in_force_is_remembered() {
        let mut files = Files::new();
        let broken = TEXT.replace("keytab", "keytap");
        assert_eq!(files.read(&broken, Asked::ByFiles).await, None);
        let told = files.1.told.clone().unwrap();
        assert!(told.contains("keytap: unknown key"), "{told}");
        assert_eq!(files.read(&broken, Asked::ByPerson).await, None);
        assert_eq!(
            files.read(TEXT, Asked::ByFiles).await,
            None,
            "nothing has changed after all"
        );
        assert_eq!(files.1.told, None);
    }

    #[tokio::test]
    async fn one_that_cannot_be_made_ready_is_not_used_either() {
        let mut files = Files::new();
        let more = TEXT.replace("cms: {}", "cms: {}, cms_x: {}");
        fs::write(files.0.path().join("c.yaml"), more).unwrap();
        let refuse = |_: &Config| Err::<(), _>("CA file x cannot be used");
        assert!(files.1.read(Asked::ByPerson, refuse).await.new.is_none());
        assert_eq!(files.1.told.as_deref(), Some("CA file x cannot be used"));
        assert_eq!(files.1.current.deliveries.len(), 1);
    }

    #[tokio::test]
    async fn what_would_change_is_said_and_does_not() {
        let mut files = Files::new();
        let more = TEXT.replace("cms: {}", "cms: {}, cms_x: {}");
        fs::write(files.0.path().join("c.yaml"), more).unwrap();
        let mut ask = async |asked| files.1.read(asked, |_| Ok::<_, String>(())).await;
        let dry = ask(Asked::ToSay).await;
        assert!(dry.new.is_none());
        assert!(!dry.said.used);
        assert_eq!(dry.said.changes, ["+ a/cms_x at here"]);
        let real = ask(Asked::ByPerson).await;
        assert_eq!(real.said.changes, dry.said.changes);
        assert!(real.said.used && real.new.is_some());
        assert_eq!(ask(Asked::ToSay).await.said.changes, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_pipe_among_the_files_is_refused_in_words_and_waited_for_by_nobody() {
        let mut files = Files::new();
        let folder = files.0.path().join("config.d");
        fs::create_dir(&folder).unwrap();
        nix::unistd::mkfifo(&folder.join("f.yaml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(files.read(TEXT, Asked::ByPerson).await, None);
        let told = files.1.told.clone().unwrap();
        assert!(
            told.contains("f.yaml: the file cannot be read: it is a FIFO"),
            "{told}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn files_that_do_not_answer_are_a_fault_of_the_new_configuration() {
        let mut files = Files::new();
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        let prepare = move |_: &Config| blocked.recv().map_err(|_| "released");
        let pass = async {
            tokio::task::yield_now().await;
            tokio::time::advance(crate::system::files::DEADLINE).await;
        };
        let (read, ()) = tokio::join!(files.1.read(Asked::ByPerson, prepare), pass);
        assert!(read.new.is_none());
        let words = "c.yaml does not answer within 10 s; check its mount and its server";
        assert!(
            read.said.faults[0].ends_with(words),
            "{:?}",
            read.said.faults
        );
        drop(release);
    }
}
