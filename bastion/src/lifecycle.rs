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
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use crate::api::bodies::{ReloadOrder, Reloaded};
use crate::api::orders::Orders;
use crate::api::routes::{self, StatusView};
use crate::api::server::{self, serve};
use crate::api::socket::Socket;
use crate::api::systemd::{self, notify};
use crate::attendant::Attendant;
use crate::config::{Config, Watch, host};
use crate::engine::{Command, Engine};
use crate::files;
use crate::hardening;
use crate::lock::{Lock, LockError};
use crate::push::Parts;
use crate::reload::{Asked, Reload};
use crate::report::Report;
use crate::schedd::{Transports, directory};
use crate::store::{Content, Store};
use crate::vault::HtVault;
use crate::vault::sessions::Sessions;

pub(crate) type RealParts = Parts<HtVault, Transports<HtVault>>;

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
        warn_of_host(Arc::new(config.clone())).await;
        let parts = parts(config, Store::open(&config.state))?;
        let mut reconciler = reconciler(config, &parts);
        reconciler
            .settle_before(|reconciler| progress(&reconciler.report()))
            .await;
        let report = reconciler.report();
        reconciler.close().await;
        Ok(report)
    });
    runtime.shutdown_timeout(LAST_WAIT);
    report
}

/// Keeps every delivery good until SIGTERM or SIGINT; SIGHUP and changes that `watch` tells of
/// have `file` read again.
///
/// # Errors
/// The certificate authorities cannot be used, or the system refuses a runtime or signals.
pub fn run(config: &Config, file: &Path, watch: Watch) -> anyhow::Result<()> {
    let _lock = lock(config)?;
    let descriptors = hardening::raise_descriptors();
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        tokio::spawn(warn_of_host(Arc::new(config.clone())));
        let parts = parts(config, Store::open(&config.state))?;
        let mut reconciler = reconciler(config, &parts);
        let signals = Signals::new().context("signals cannot be listened to")?;
        let (send, receive) = mpsc::channel(1);
        let (reloads, reload_orders) = mpsc::channel(1);
        let reports = reconciler.reports();
        let orders = Orders {
            commands: send.clone(),
            reports: reports.clone(),
            reloads,
        };
        let view = StatusView {
            reports: reports.clone(),
            stages: Arc::clone(&parts.stages),
            started: SystemClock.now(),
        };
        let _listen = serve_http(config, view.clone(), descriptors).await;
        let _systemd = Attendant::begin(systemd::notify_of(reports));
        let _control = serve_control(config, view, orders, descriptors).await;
        info!(version = env!("CARGO_PKG_VERSION"), file = %file.display(), "started");
        notify(&[NotifyState::Ready]);
        let outside = Outside {
            signals,
            reloads: reload_orders,
            parts,
            watch,
            files: Reload::new(file, Arc::new(config.clone())),
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
    match Lock::take(&config.state) {
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
async fn serve_control(
    config: &Config,
    view: StatusView,
    orders: Orders<HtVault, Transports<HtVault>>,
    descriptors: u64,
) -> Option<Attendant> {
    match Socket::bind(&config.control).await {
        Ok(socket) => {
            let slots = server::slots(routes::CLIENTS, descriptors);
            let routes = routes::control(view, orders, socket.access(), slots);
            let name = "the control socket";
            Some(Attendant::begin(serve(name, socket, routes, slots)))
        }
        Err(error) => {
            error!("commands such as `status` will not find this service: {error:#}");
            None
        }
    }
}

/// Serves metrics and health where the configuration says so. As above, the work goes on without.
async fn serve_http(config: &Config, view: StatusView, descriptors: u64) -> Option<Attendant> {
    match routes::bind(config.listen?).await {
        Ok(listener) => {
            let slots = server::slots(routes::CONNECTIONS, descriptors);
            let routes = routes::loopback(view);
            let name = "the server of metrics and health";
            Some(Attendant::begin(serve(name, listener, routes, slots)))
        }
        Err(error) => {
            error!("metrics and health are not served: {error:#}");
            None
        }
    }
}

/// What would be known and planned at a start; nothing is tried.
///
/// # Errors
/// The certificate authorities cannot be used, or the system refuses a runtime.
pub fn at_start(config: &Config) -> anyhow::Result<Report> {
    let _in_runtime = runtime()?.enter();
    let parts = parts(config, Store::read_only(&config.state))?;
    Ok(reconciler(config, &parts).report())
}

/// One thread for the tries does beside the loop's own: the work is waiting. What blocks is the disk of
/// the state, or a name server, each on few threads; files and directories have a bounded number
/// besides, Kerberos threads of its own. More threads only take memory.
fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(8 + files::THREADS)
        .enable_all()
        .build()
        .context("the runtime cannot be started")
}

fn parts(config: &Config, store: Store) -> Result<Arc<RealParts>, htvault::Error> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let vault = HtVault::new(config, Arc::clone(&clock))?;
    Ok(with_transports(Sessions::new(vault, clock, store)))
}

/// Those of another configuration: what is known of Vault and what was counted is kept.
fn parts_anew(before: &RealParts, config: &Config) -> Result<Arc<RealParts>, htvault::Error> {
    let vault = before.vault.reconfigured(config)?;
    Ok(with_transports(before.sessions.reconfigured(vault)))
}

fn with_transports(sessions: Sessions<HtVault>) -> Arc<RealParts> {
    let sessions = Arc::new(sessions);
    let transports = Transports::new(Arc::clone(&sessions));
    Arc::new(Parts::new(sessions, transports))
}

fn reconciler(config: &Config, parts: &Arc<RealParts>) -> Engine<HtVault, Transports<HtVault>> {
    Engine::new(config, Arc::clone(parts), TimeZone::system())
}

/// Waits for what needs a runtime and no parts.
///
/// # Errors
/// The system refuses a runtime.
pub(crate) fn wait<A>(work: impl Future<Output = A>) -> anyhow::Result<A> {
    let runtime = runtime()?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_WAIT);
    Ok(result)
}

/// Does something with the real parts, where no service runs; what it changes of the state is kept.
///
/// # Errors
/// A service runs, the certificate authorities cannot be used, or the system refuses a runtime.
pub(crate) fn alone<A>(
    config: &Config,
    work: impl AsyncFnOnce(Arc<RealParts>) -> A,
) -> anyhow::Result<A> {
    let _lock = lock(config)?;
    with_parts(config, Store::open, work)
}

/// Does something with the real parts, perhaps beside a service: the state stays as it is.
///
/// # Errors
/// The certificate authorities cannot be used, or the system refuses a runtime.
pub(crate) fn beside<A>(
    config: &Config,
    work: impl AsyncFnOnce(Arc<RealParts>) -> A,
) -> anyhow::Result<A> {
    with_parts(config, Store::read_only, work)
}

fn with_parts<A>(
    config: &Config,
    open: fn(&Path) -> Store,
    work: impl AsyncFnOnce(Arc<RealParts>) -> A,
) -> anyhow::Result<A> {
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let parts = parts(config, open(&config.state))?;
        let result = work(Arc::clone(&parts)).await;
        if let Err(problem) = parts.store.written(LAST_WAIT).await {
            warn!("{problem}");
        }
        anyhow::Ok(result)
    })?;
    runtime.shutdown_timeout(LAST_WAIT);
    Ok(result)
}

/// Changes the state, where no service runs.
///
/// # Errors
/// A service runs, or the state directory cannot be written.
pub(crate) fn note(config: &Config, change: impl FnOnce(&mut Content)) -> anyhow::Result<()> {
    let _lock = lock(config)?;
    runtime()?.block_on(async {
        let store = Store::open(&config.state);
        store.change(change);
        store.written(LAST_WAIT).await.map_err(anyhow::Error::msg)
    })
}

/// What is allowed and probably not meant. A wrong mode is no reason to let jobs die; what is
/// missing is said by the deliveries.
async fn warn_of_host(config: Arc<Config>) {
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let faults = host::keytab_faults(&config).await;
    for fault in faults.iter().filter(|fault| !fault.stops()) {
        warn!("{fault}");
    }
    for fault in directory::faults(&config).await {
        warn!("{fault}");
    }
}

struct Signals {
    hangup: Signal,
    end: EndSignals,
}

/// Signals that end the service.
struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            end: EndSignals {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            },
        })
    }
}

impl EndSignals {
    /// Waits for one of them.
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What comes from outside the loop: signals, changed files, and orders to read them again.
struct Outside {
    signals: Signals,
    reloads: mpsc::Receiver<(ReloadOrder, oneshot::Sender<Reloaded>)>,
    /// Those in force.
    parts: Arc<RealParts>,
    watch: Watch,
    files: Reload,
}

type Commands = mpsc::Sender<Command<HtVault, Transports<HtVault>>>;

impl Outside {
    /// Makes commands of it until the end is asked for.
    async fn pass_on(mut self, send: Commands) {
        loop {
            tokio::select! {
                _ = self.signals.hangup.recv() => {
                    if self.reload(Asked::ByPerson, &send).await.is_none() {
                        break;
                    }
                }
                () = self.watch.changed(self.files.check()) => {
                    if self.reload(Asked::ByFiles, &send).await.is_none() {
                        break;
                    }
                }
                Some((order, answer)) = self.reloads.recv() => {
                    let asked = if order.dry_run { Asked::ToSay } else { Asked::ByPerson };
                    let Some(said) = self.reload(asked, &send).await else {
                        break;
                    };
                    // Whoever asked may have gone away.
                    let _ = answer.send(said);
                }
                () = self.signals.end.recv() => break,
            }
        }
        notify(&[NotifyState::Stopping]);
        // A loop that has ended need not be told to.
        let _ = send.send(Command::Stop).await;
    }

    /// Reads the configuration again; with faults the old one stays in force. Returns the answer for
    /// who asked, once it is in force; nothing when the service is to end or has ended.
    async fn reload(&mut self, asked: Asked, send: &Commands) -> Option<Reloaded> {
        // systemd waits for the end of what it asked for; of the rest it need not hear.
        if asked == Asked::ByPerson {
            match NotifyState::monotonic_usec_now() {
                Ok(now) => notify(&[NotifyState::Reloading, now]),
                Err(_) => notify(&[NotifyState::Reloading]),
            }
        }
        let before = Arc::clone(&self.parts);
        let prepare = move |config: &Config| parts_anew(&before, config);
        // A file system may take its time.
        let read = tokio::select! {
            read = self.files.read(asked, prepare) => read,
            () = self.signals.end.recv() => return None,
        };
        let faults = &read.said.faults;
        let faults = (!faults.is_empty()).then(|| faults.join("\n"));
        send.send(Command::Faults(faults)).await.ok()?;
        if let Some((config, parts)) = read.new {
            tokio::spawn(warn_of_host(Arc::clone(&config)));
            self.parts = Arc::clone(&parts);
            let (answer, in_force) = oneshot::channel();
            let command = Command::Reload(config, parts, answer);
            send.send(command).await.ok()?;
            in_force.await.ok()?;
        }
        if asked == Asked::ByPerson {
            notify(&[NotifyState::Ready]);
        }
        Some(read.said)
    }
}
