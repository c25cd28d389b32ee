//! A new configuration while the service runs.
//!
//! Always true: one with faults is reported, once as long as it stays the same, and the old one stays in
//! force; changes are logged before they take effect.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{debug, error, info};

use crate::api::bodies::Reloaded;
use crate::config::{self, Config};
use crate::system::files::CONFIGURATION;

/// The configuration that is in force, and its file.
pub(crate) struct Reload {
    file: PathBuf,
    /// With sockets and state directory as they were at the start.
    pub(super) current: Arc<Config>,
    /// Faults of the files, as log and status name them; `None` when they have none.
    pub(super) faults: Option<String>,
}

/// Reason for which a configuration is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// An operator's order.
    Order,
    /// Changed files.
    Files,
    /// An operator's question what would change; nothing is to change.
    DryRun,
}

impl Reload {
    pub(crate) fn new(file: &Path, current: Arc<Config>) -> Self {
        Self {
            file: file.to_owned(),
            current,
            faults: None,
        }
    }

    /// Reads the files again, and makes the new configuration ready by `prepare`, on a thread of its
    /// own: both read files. Returns the answer to an operator, and the new configuration if it is to be used.
    pub(crate) async fn read<T: Send + 'static, E: std::fmt::Display>(
        &mut self,
        trigger: Trigger,
        prepare: impl FnOnce(&Config) -> Result<T, E> + Send + 'static,
    ) -> (Reloaded, Option<(Arc<Config>, T)>) {
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
                let faults: Vec<String> = faults.lines().map(str::to_owned).collect();
                let named = config::first_of(faults.clone(), "fault");
                self.refuse(named.join("\n"), trigger);
                let report = Reloaded {
                    faults,
                    ..Reloaded::default()
                };
                return (report, None);
            }
        };
        let report = Reloaded {
            used: trigger != Trigger::DryRun,
            faults: Vec::new(),
            changes: config::changes(&self.current, &config),
        };
        if trigger == Trigger::DryRun {
            return (report, None);
        }
        let repaired = self.faults.take().is_some();
        if report.changes.is_empty() {
            // An operator who asks for a reload expects failed deliveries to be retried at once.
            if trigger == Trigger::Files {
                if repaired {
                    info!("the configuration is good again, nothing changes");
                } else {
                    debug!("the configuration's files were written, nothing changes");
                }
                return (report, None);
            }
            info!("the configuration was read again, nothing changes");
        }
        for line in &report.changes {
            info!("the configuration changes: {line}");
        }
        // These are opened once, at the start.
        self.current = Arc::new(Config {
            listen: self.current.listen,
            control: self.current.control.clone(),
            state: self.current.state.clone(),
            ..Config::clone(&config)
        });
        (report, Some((config, parts)))
    }

    fn refuse(&mut self, faults: String, trigger: Trigger) {
        let known = trigger == Trigger::Files && self.faults.as_ref() == Some(&faults);
        if known || trigger == Trigger::DryRun {
            return;
        }
        for fault in faults.lines() {
            error!("the new configuration is not used: {fault}");
        }
        self.faults = Some(faults);
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
        async fn read(&mut self, text: &str, trigger: Trigger) -> Option<usize> {
            fs::write(self.0.path().join("c.yaml"), text).unwrap();
            let (_, new) = self.1.read(trigger, |_| Ok::<_, String>(())).await;
            let (config, ()) = new?;
            Some(config.deliveries.len())
        }
    }

    #[tokio::test]
    async fn files_are_used_when_they_say_something_else_and_a_person_always_gets_his_way() {
        let mut files = Files::new();
        let more = TEXT.replace("cms: {}", "cms: {}, cms_x: {}");
        assert_eq!(files.read(TEXT, Trigger::Files).await, None);
        assert_eq!(files.read(TEXT, Trigger::Order).await, Some(1));
        assert_eq!(files.read(&more, Trigger::Files).await, Some(2));
        assert_eq!(
            files.read(&more, Trigger::Files).await,
            None,
            "it is in force already"
        );
        assert_eq!(files.read(TEXT, Trigger::Files).await, Some(1));
    }

    #[tokio::test]
    async fn one_with_faults_is_not_used_and_what_was_in_force_is_remembered() {
        let mut files = Files::new();
        let broken = TEXT.replace("keytab", "keytap");
        assert_eq!(files.read(&broken, Trigger::Files).await, None);
        let faults = files.1.faults.clone().unwrap();
        assert!(faults.contains("keytap: unknown key"), "{faults}");
        assert_eq!(files.read(&broken, Trigger::Order).await, None);
        assert_eq!(
            files.read(TEXT, Trigger::Files).await,
            None,
            "nothing has changed after all"
        );
        assert_eq!(files.1.faults, None);
    }

    #[tokio::test]
    async fn a_mistake_that_every_account_has_drowns_nothing_in_log_and_status() {
        let mut files = Files::new();
        let accounts: Vec<String> = (0..60).map(|n| format!("a{n}: {{keytap: /kt}}")).collect();
        let (start, _) = TEXT.split_once("accounts").unwrap();
        let text = format!("{start}accounts: {{{}}}\n", accounts.join(", "));
        fs::write(files.0.path().join("c.yaml"), text).unwrap();
        let read = files.1.read(Trigger::Order, |_| Ok::<_, String>(()));
        let all = read.await.0.faults;
        assert!(all.len() > 60 && all.iter().all(|fault| fault.contains("c.yaml:")));
        let named: Vec<&str> = files.1.faults.as_deref().unwrap().lines().collect();
        assert_eq!(named[..50], all[..50]);
        let rest = "more faults, which `token-bastion check` prints";
        assert_eq!(named[50..], [format!("{} {rest}", all.len() - 50)]);
    }

    #[tokio::test]
    async fn one_that_cannot_be_made_ready_is_not_used_either() {
        let mut files = Files::new();
        let more = TEXT.replace("cms: {}", "cms: {}, cms_x: {}");
        fs::write(files.0.path().join("c.yaml"), more).unwrap();
        let refuse = |_: &Config| Err::<(), _>("CA file x cannot be used");
        assert!(files.1.read(Trigger::Order, refuse).await.1.is_none());
        assert_eq!(files.1.faults.as_deref(), Some("CA file x cannot be used"));
        assert_eq!(files.1.current.deliveries.len(), 1);
    }

    #[tokio::test]
    async fn what_would_change_is_said_and_does_not() {
        let mut files = Files::new();
        let more = TEXT.replace("cms: {}", "cms: {}, cms_x: {}");
        fs::write(files.0.path().join("c.yaml"), more).unwrap();
        let mut ask = async |trigger| files.1.read(trigger, |_| Ok::<_, String>(())).await;
        let (dry, new) = ask(Trigger::DryRun).await;
        assert!(new.is_none());
        assert!(!dry.used);
        assert_eq!(dry.changes, ["+ a/cms_x at here"]);
        let (real, new) = ask(Trigger::Order).await;
        assert_eq!(real.changes, dry.changes);
        assert!(real.used && new.is_some());
        assert_eq!(ask(Trigger::DryRun).await.0.changes, Vec::<String>::new());
    }

    #[tokio::test]
    async fn what_is_opened_once_stays_what_it_is_until_the_next_start() {
        let mut files = Files::new();
        let file = files.0.path().join("c.yaml");
        let mut changes = async |more: &str| {
            fs::write(&file, format!("{TEXT}{more}")).unwrap();
            let (report, _) = files.1.read(Trigger::Order, |_| Ok::<_, String>(())).await;
            report.changes
        };
        let moved = changes("control: {socket: /run/b}\n").await;
        assert!(moved[0].starts_with("~ control.socket /run/token-bastion/control → /run/b"));
        assert_eq!(changes("control: {socket: /run/b}\n").await, moved);
        assert_eq!(changes("").await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_pipe_among_the_files_is_refused_in_words_and_waited_for_by_nobody() {
        let mut files = Files::new();
        let folder = files.0.path().join("config.d");
        fs::create_dir(&folder).unwrap();
        nix::unistd::mkfifo(&folder.join("f.yaml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(files.read(TEXT, Trigger::Order).await, None);
        let faults = files.1.faults.clone().unwrap();
        assert!(
            faults.contains("f.yaml: the file cannot be read: it is a FIFO"),
            "{faults}"
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
        let ((report, new), ()) = tokio::join!(files.1.read(Trigger::Order, prepare), pass);
        assert!(new.is_none());
        let words = "c.yaml does not answer within 10 s; check its mount and its server";
        assert!(report.faults[0].ends_with(words), "{:?}", report.faults);
        drop(release);
    }
}
