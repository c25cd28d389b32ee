//! A service's life: configured, started, told to reload or to stop, and what systemd hears of it.
//!
//! What holds: a new configuration with faults is reported and changes nothing; whatever libkrb5
//! is waiting for, the process ends soon after it was told to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use htvault::clock::{Clock, SystemClock};
use jiff::tz::TimeZone;
use sd_notify::NotifyState;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::config::{self, Config, host};
use crate::control::protocol::Reloaded;
use crate::control::server;
use crate::control::service::{Reload, Service};
use crate::control::socket::Socket;
use crate::delivery::{Delivery, DeliveryId};
use crate::herald::{self, tell};
use crate::ledger::Keeper;
use crate::lock::{Lock, LockError};
use crate::login::HtVault;
use crate::push::Parts;
use crate::reconcile::{Command, Reconciler};
use crate::report::Report;
use crate::transport::Transports;

pub(crate) type RealParts = Parts<HtVault, Transports>;

/// How long threads that cannot be interrupted may hold up the end.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Tries every delivery once.
///
/// # Errors
/// The certificate authorities cannot be used, or the system refuses a runtime.
pub fn once(config: &Config, mut progress: impl FnMut(&Report)) -> anyhow::Result<Report> {
    let _lock = lock(config)?;
    let runtime = runtime()?;
    let report = runtime.block_on(async {
        warn_of_host(config);
        let mut reconciler = reconciler(config)?;
        let mut reports = reconciler.reports();
        {
            let mut settled = pin!(reconciler.settle());
            loop {
                tokio::select! {
                    () = &mut settled => break,
                    Ok(()) = reports.changed() => progress(&reports.borrow_and_update()),
                }
            }
        }
        let report = reconciler.report();
        reconciler.close().await;
        Ok(report)
    });
    runtime.shutdown_timeout(LAST_WAIT);
    report
}

/// Keeps every delivery good until SIGTERM or SIGINT; SIGHUP reads `file` again.
///
/// # Errors
/// The certificate authorities cannot be used, or the system refuses a runtime or signals.
pub fn run(config: &Config, file: &Path) -> anyhow::Result<()> {
    let _lock = lock(config)?;
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        warn_of_host(config);
        let mut reconciler = reconciler(config)?;
        let signals = Signals::new().context("signals cannot be listened to")?;
        let (send, receive) = mpsc::channel(1);
        let (reloads, reload_orders) = mpsc::channel(1);
        let service = Service {
            commands: send.clone(),
            reports: reconciler.reports(),
            reloads,
        };
        let (turned, _) = watch::channel(Instant::now());
        let _herald = Attendant::begin(herald::attend(reconciler.reports(), turned));
        let _control = serve_control(config, service);
        info!(version = env!("CARGO_PKG_VERSION"), file = %file.display(), "started");
        tell(&[NotifyState::Ready]);
        let outside = Outside {
            signals,
            reloads: reload_orders,
            file,
            current: Arc::new(config.clone()),
        };
        tokio::join!(reconciler.run(receive), outside.pass_on(send));
        info!("stopped; what is at the schedds stays");
        Ok(())
    });
    runtime.shutdown_timeout(LAST_WAIT);
    result
}

/// Keeps a second instance out. Where no lock can be had (a person who tries things without root)
/// the work goes on: jobs need tokens more than the lock.
fn lock(config: &Config) -> anyhow::Result<Option<Lock>> {
    match Lock::take(&config.control) {
        Ok(lock) => Ok(Some(lock)),
        Err(taken @ LockError::Taken { .. }) => Err(taken.into()),
        Err(error) => {
            warn!("{error}");
            Ok(None)
        }
    }
}

/// Serves the control socket, until the result is dropped. Without it tokens are kept good all the
/// same: that is worth more than being asked.
fn serve_control(config: &Config, service: Service<HtVault, Transports>) -> Option<Attendant> {
    match Socket::bind(&config.control) {
        Ok(socket) => Some(Attendant::begin(server::serve(socket, Arc::new(service)))),
        Err(error) => {
            error!("commands such as `status` will not find this service: {error:#}");
            None
        }
    }
}

/// A task beside the loop, which ends when this is dropped.
struct Attendant(tokio::task::JoinHandle<()>);

impl Attendant {
    fn begin(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}

impl Drop for Attendant {
    fn drop(&mut self) {
        self.0.abort();
    }
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
    let zone = TimeZone::system();
    let mut reconciler = Reconciler::with_ledger(config, parts, zone, ledger);
    reconciler.keep_in(&config.state);
    Ok(reconciler)
}

/// Does something with the real parts, where no service runs.
///
/// # Errors
/// The certificate authorities cannot be used, or the system refuses a runtime.
pub(crate) fn alone<A>(
    config: &Config,
    work: impl AsyncFnOnce(Arc<RealParts>) -> A,
) -> anyhow::Result<A> {
    let parts = parts(config)?;
    let runtime = runtime()?;
    let result = runtime.block_on(work(parts));
    runtime.shutdown_timeout(LAST_WAIT);
    Ok(result)
}

/// A wrong mode is no reason to let jobs die. What is missing is said by the deliveries.
fn warn_of_host(config: &Config) {
    for fault in host::keytab_faults(config)
        .iter()
        .filter(|fault| !fault.stops())
    {
        warn!("{fault}");
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
}

/// What comes from outside the loop: signals, and orders to read the configuration again.
struct Outside<'f> {
    signals: Signals,
    reloads: mpsc::Receiver<Reload>,
    file: &'f Path,
    current: Arc<Config>,
}

impl Outside<'_> {
    /// Makes commands of it until the end is asked for.
    async fn pass_on(mut self, send: mpsc::Sender<Command<HtVault, Transports>>) {
        loop {
            let command = tokio::select! {
                _ = self.signals.hangup.recv() => self.reload(false).1,
                Some(order) = self.reloads.recv() => {
                    let (said, command) = self.reload(order.dry_run);
                    // Whoever asked may have gone away.
                    let _ = order.answer.send(said);
                    command
                }
                _ = self.signals.terminate.recv() => Some(Command::Stop),
                _ = self.signals.interrupt.recv() => Some(Command::Stop),
            };
            let Some(command) = command else { continue };
            let stop = matches!(command, Command::Stop);
            if stop {
                tell(&[NotifyState::Stopping]);
            }
            if send.send(command).await.is_err() || stop {
                return;
            }
        }
    }

    /// Reads the configuration again. With faults the old one stays in force.
    fn reload(&mut self, dry_run: bool) -> (Reloaded, Option<Command<HtVault, Transports>>) {
        if !dry_run {
            match NotifyState::monotonic_usec_now() {
                Ok(now) => tell(&[NotifyState::Reloading, now]),
                Err(_) => tell(&[NotifyState::Reloading]),
            }
        }
        let ready = config::load(self.file)
            .map_err(|faults| faults.iter().map(ToString::to_string).collect())
            .and_then(|config| match parts(&config) {
                Ok(parts) => Ok((Arc::new(config), parts)),
                Err(fault) => Err(vec![fault.to_string()]),
            });
        let result = match ready {
            Ok((config, parts)) => {
                let changes = changes(&self.current, &config);
                let said = Reloaded {
                    used: !dry_run,
                    faults: Vec::new(),
                    changes,
                };
                if dry_run {
                    (said, None)
                } else {
                    warn_of_host(&config);
                    self.current = Arc::clone(&config);
                    (said, Some(Command::Reload(config, parts)))
                }
            }
            Err(faults) => {
                let said = Reloaded {
                    faults,
                    ..Reloaded::default()
                };
                (said, None)
            }
        };
        if !dry_run {
            for fault in &result.0.faults {
                error!("the new configuration is not used: {fault}");
            }
            tell(&[NotifyState::Ready]);
        }
        result
    }
}

/// What is different, one line for each delivery.
fn changes(old: &Config, new: &Config) -> Vec<String> {
    let named = |config: &Config| -> BTreeMap<DeliveryId, Arc<Delivery>> {
        let deliveries = config.deliveries.iter();
        deliveries.map(|d| (d.id.clone(), Arc::clone(d))).collect()
    };
    let (old, new) = (named(old), named(new));
    let ids: BTreeSet<&DeliveryId> = old.keys().chain(new.keys()).collect();
    ids.into_iter()
        .filter_map(|id| match (old.get(id), new.get(id)) {
            (None, _) => Some(format!("new: {id}")),
            (_, None) => Some(format!("no longer delivered: {id}")),
            (was, is) => (was != is).then(|| format!("changed: {id}")),
        })
        .collect()
}
