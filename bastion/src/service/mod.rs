//! The service: start, signals, reload, stop, and notifications to systemd.
//!
//! Always true: a new configuration with faults is reported and changes nothing; the process ends soon after the
//! request to stop, whatever libkrb5 waits for.

mod reload;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use htvault::clock::{Clock as _, SystemClock};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info};

use self::reload::{Reload, Trigger};
use crate::api::bodies::{ReloadOrder, Reloaded};
use crate::api::orders::Orders;
use crate::api::routes::{self, StatusView};
use crate::api::server::{self, serve};
use crate::api::socket::Socket;
use crate::api::systemd::{self, notify};
use crate::config::{Config, Watch};
use crate::engine::Command;
use crate::engine::real::{
    LAST_WAIT, RealParts, engine, lock, parts, parts_anew, runtime, warn_of_host,
};
use crate::schedd::Transports;
use crate::store::Store;
use crate::system::hardening;
use crate::vault::HtVault;

/// Runs the service until SIGTERM or SIGINT. SIGHUP and changes that `watch` notices reload `file`.
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
        let mut engine = engine(config, &parts);
        let signals = Signals::new().context("signal handlers cannot be installed")?;
        let (send, receive) = mpsc::channel(1);
        let (reloads, reload_orders) = mpsc::channel(1);
        let reports = engine.reports();
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
        let _systemd = AbortOnDropHandle::new(tokio::spawn(systemd::notify_of(reports)));
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
        tokio::join!(engine.run(receive), outside.pass_on(send));
        info!("stopped; tokens at the schedds stay valid");
        Ok(())
    });
    runtime.shutdown_timeout(LAST_WAIT);
    result
}

/// Serves the control socket until the result is dropped. Deliveries work without it, so a failure is only logged.
async fn serve_control(
    config: &Config,
    view: StatusView,
    orders: Orders<HtVault, Transports<HtVault>>,
    descriptors: u64,
) -> Option<AbortOnDropHandle<()>> {
    match Socket::bind(&config.control).await {
        Ok(socket) => {
            let slots = server::slots(routes::CLIENTS, descriptors);
            let routes = routes::control(view, orders, socket.access(), slots);
            let name = "the control socket";
            Some(AbortOnDropHandle::new(tokio::spawn(serve(
                name, socket, routes, slots,
            ))))
        }
        Err(error) => {
            error!(
                "control socket not served, so commands such as `status` do not work: {error:#}"
            );
            None
        }
    }
}

/// Serves metrics and health where they are configured. A failure is only logged, as above.
async fn serve_http(
    config: &Config,
    view: StatusView,
    descriptors: u64,
) -> Option<AbortOnDropHandle<()>> {
    match routes::bind(config.listen?).await {
        Ok(listener) => {
            let slots = server::slots(routes::CONNECTIONS, descriptors);
            let routes = routes::loopback(view);
            let name = "the server of metrics and health";
            Some(AbortOnDropHandle::new(tokio::spawn(serve(
                name, listener, routes, slots,
            ))))
        }
        Err(error) => {
            error!("metrics and health not served: {error:#}");
            None
        }
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

/// Events from outside the engine: signals, changed files, and orders to reload.
struct Outside {
    signals: Signals,
    reloads: mpsc::Receiver<(ReloadOrder, oneshot::Sender<Reloaded>)>,
    /// Parts in force.
    parts: Arc<RealParts>,
    watch: Watch,
    files: Reload,
}

type Commands = mpsc::Sender<Command<HtVault, Transports<HtVault>>>;

impl Outside {
    /// Turns events into commands for the engine until a signal stops the service.
    async fn pass_on(mut self, send: Commands) {
        loop {
            tokio::select! {
                _ = self.signals.hangup.recv() => {
                    if self.reload(Trigger::Order, &send).await.is_none() {
                        break;
                    }
                }
                () = self.watch.changed(self.files.check()) => {
                    if self.reload(Trigger::Files, &send).await.is_none() {
                        break;
                    }
                }
                Some((order, answer)) = self.reloads.recv() => {
                    let trigger = if order.dry_run { Trigger::DryRun } else { Trigger::Order };
                    let Some(reloaded) = self.reload(trigger, &send).await else {
                        break;
                    };
                    // The client may have disconnected.
                    let _ = answer.send(reloaded);
                }
                () = self.signals.end.recv() => break,
            }
        }
        notify(&[NotifyState::Stopping]);
        // The engine may have stopped already.
        let _ = send.send(Command::Stop).await;
    }

    /// Reloads the configuration; with faults the old one stays in force. Returns the answer for the client once the
    /// configuration is in force; `None` when the service stops.
    async fn reload(&mut self, trigger: Trigger, send: &Commands) -> Option<Reloaded> {
        // systemd waits for the end of a reload that it requested, and needs no notice of others.
        if trigger == Trigger::Order {
            match NotifyState::monotonic_usec_now() {
                Ok(now) => notify(&[NotifyState::Reloading, now]),
                Err(_) => notify(&[NotifyState::Reloading]),
            }
        }
        let before = Arc::clone(&self.parts);
        let prepare = move |config: &Config| parts_anew(&before, config);
        // A file system may be slow.
        let read = tokio::select! {
            read = self.files.read(trigger, prepare) => read,
            () = self.signals.end.recv() => return None,
        };
        let faults = &read.report.faults;
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
        if trigger == Trigger::Order {
            notify(&[NotifyState::Ready]);
        }
        Some(read.report)
    }
}
