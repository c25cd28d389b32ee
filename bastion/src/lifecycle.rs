//! A service's life: configured, started, told to reload or to stop, and what systemd hears of it.
//!
//! What holds: a new configuration with faults is reported and changes nothing; whatever libkrb5
//! is waiting for, the process ends soon after it was told to.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use htvault::clock::{Clock, SystemClock};
use jiff::tz::TimeZone;
use sd_notify::NotifyState;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::config::{Config, Watch, host};
use crate::ledger::Keeper;
use crate::login::HtVault;
use crate::push::Parts;
use crate::reconcile::{Command, Reconciler};
use crate::reload::{Asked, Reload};
use crate::report::Report;
use crate::transport::Transports;

type RealParts = Parts<HtVault, Transports>;

/// How long threads that cannot be interrupted may hold up the end.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Tries every delivery once.
///
/// # Errors
/// The certificate authorities cannot be used, or the system refuses a runtime.
pub fn once(config: &Config) -> anyhow::Result<Report> {
    let runtime = runtime()?;
    let report = runtime.block_on(async {
        warn_of_host(config);
        let mut reconciler = reconciler(config)?;
        reconciler.settle().await;
        let report = reconciler.report();
        reconciler.close().await;
        Ok(report)
    });
    runtime.shutdown_timeout(LAST_WAIT);
    report
}

/// Keeps every delivery good until SIGTERM or SIGINT; SIGHUP and changed files have
/// `file` read again.
///
/// # Errors
/// The certificate authorities cannot be used, or the system refuses a runtime or signals.
pub fn run(config: &Config, file: &Path) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        warn_of_host(config);
        let mut reconciler = reconciler(config)?;
        let signals = Signals::new().context("signals cannot be listened to")?;
        let (send, receive) = mpsc::channel(1);
        info!(version = env!("CARGO_PKG_VERSION"), file = %file.display(), "started");
        tell(&[NotifyState::Ready, NotifyState::Status("running")]);
        let ((), ()) = tokio::join!(reconciler.run(receive), signals.pass_on(send, file, config));
        info!("stopped; what is at the schedds stays");
        Ok(())
    });
    runtime.shutdown_timeout(LAST_WAIT);
    result
}

/// Two threads do: the work is waiting. A blocked libkrb5 must not keep others from starting.
fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(64)
        .enable_all()
        .build()
        .context("the runtime cannot be started")
}

fn parts(config: &Config) -> Result<Arc<RealParts>, htvault::Error> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let vault = HtVault::new(config, Arc::clone(&clock))?;
    Ok(Arc::new(Parts::new(vault, Transports::default(), clock)))
}

fn reconciler(config: &Config) -> anyhow::Result<Reconciler<HtVault, Transports>> {
    let ledger = Keeper::open(config.state.clone());
    let parts = parts(config)?;
    Ok(Reconciler::with_ledger(
        config,
        parts,
        TimeZone::system(),
        ledger,
    ))
}

/// What is allowed and probably not meant. A wrong mode is no reason to let jobs die; what is
/// missing is said by the deliveries.
fn warn_of_host(config: &Config) {
    for warning in &config.warnings {
        warn!("{warning}");
    }
    for fault in host::keytab_faults(config)
        .iter()
        .filter(|fault| !fault.stops())
    {
        warn!("{fault}");
    }
}

/// Tells systemd, if it wants to hear. A socket that is gone is no reason to stop.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "systemd could not be told");
    }
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Makes commands of signals until the end is asked for.
    async fn pass_on(
        mut self,
        send: mpsc::Sender<Command<HtVault, Transports>>,
        file: &Path,
        config: &Config,
    ) {
        let mut watch = Watch::new(file);
        let mut files = Reload::new(file, Arc::new(config.clone()));
        loop {
            let command = tokio::select! {
                _ = self.hangup.recv() => match reload(&mut files, Asked::ByPerson) {
                    Some(command) => command,
                    None => continue,
                },
                () = watch.changed() => match reload(&mut files, Asked::ByFiles) {
                    Some(command) => command,
                    None => continue,
                },
                _ = self.terminate.recv() => Command::Stop,
                _ = self.interrupt.recv() => Command::Stop,
            };
            let stop = matches!(command, Command::Stop);
            if stop {
                tell(&[NotifyState::Stopping]);
            }
            if send.send(command).await.is_err() || stop {
                return;
            }
        }
    }
}

/// Reads the configuration again; `None`, and the old one stays in force, when it has faults.
fn reload(files: &mut Reload, asked: Asked) -> Option<Command<HtVault, Transports>> {
    // systemd waits for the end of what it asked for; of the rest it need not hear.
    if asked == Asked::ByPerson {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
    }
    let read = files.look(parts);
    let taken = files.take(asked, read);
    if asked == Asked::ByPerson {
        tell(&[NotifyState::Ready]);
    }
    let (config, parts) = taken?;
    warn_of_host(&config);
    Some(Command::Reload(config, parts))
}
