//! The service: start, signals, reload, stop, and notifications to systemd.
//!
//! Always true: a new configuration with faults is reported and changes nothing; the process ends soon after the
//! request to stop, whatever libkrb5 waits for.

mod reload;

use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use htvault::clock::{Clock as _, SystemClock};
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::info;

use self::reload::{Reload, Trigger};
use crate::api::bodies::{ReloadOrder, Reloaded};
use crate::api::orders::Orders;
use crate::api::routes::{self, StatusView};
use crate::api::server::{slots, spawn};
use crate::api::socket::Socket;
use crate::api::systemd::{self, notify};
use crate::config::{Config, Watch};
use crate::engine::Command;
use crate::engine::real::{RealParts, engine, lock, parts, parts_anew, warn_of_host};
use crate::schedd::Transports;
use crate::store::Store;
use crate::system::hardening;
use crate::vault::HtVault;

/// Runs the service until SIGTERM or SIGINT. SIGHUP and changes that `watch` notices reload `file`.
///
/// # Errors
/// The certificate authorities cannot be used, or the system refuses signal handlers.
pub async fn run(config: Config, file: &Path, watch: Watch) -> anyhow::Result<()> {
    let config = Arc::new(config);
    let _lock = lock(&config)?;
    let store = Store::open(&config.state).map_err(anyhow::Error::msg)?;
    let descriptors = hardening::raise_descriptors();
    tokio::spawn(warn_of_host(Arc::clone(&config)));
    let parts = parts(&config, store)?;
    let mut engine = engine(&config, &parts);
    let no_handlers = "signal handlers cannot be installed";
    let hangup = signal(SignalKind::hangup()).context(no_handlers)?;
    let stop = stop_signals().context(no_handlers)?;
    let (commands, receive_commands) = mpsc::channel(1);
    let (reloads, receive_reloads) = mpsc::channel(1);
    let reports = engine.reports();
    let orders = Orders {
        commands: commands.clone(),
        reports: reports.clone(),
        reloads,
    };
    let view = StatusView {
        reports: reports.clone(),
        stages: Arc::clone(&parts.stages),
        started: SystemClock.now(),
    };
    let _listen = match config.listen {
        Some(address) => {
            let bind = move || async move {
                let cannot = || format!("listen.address {address} cannot be used");
                TcpListener::bind(address).await.with_context(cannot)
            };
            let routes = routes::loopback(view.clone());
            let slots = slots(routes::CONNECTIONS, descriptors);
            Some(spawn("the address of metrics and health", bind, routes, slots).await)
        }
        None => None,
    };
    let path = config.control.clone();
    let bind = move || {
        let path = path.clone();
        async move {
            let socket = Socket::bind(&path).await;
            socket.context("commands such as `status` do not work")
        }
    };
    let slots = slots(routes::CLIENTS, descriptors);
    let routes = routes::control(view, orders, slots);
    let _control = spawn("the control socket", bind, routes, slots).await;
    let _systemd = AbortOnDropHandle::new(tokio::spawn(systemd::notify_of(reports)));
    info!(version = env!("CARGO_PKG_VERSION"), file = %file.display(), "started");
    notify(&[NotifyState::Ready]);
    let outside = Outside {
        hangup,
        stop,
        reloads: receive_reloads,
        parts,
        watch,
        files: Reload::new(file, config),
    };
    tokio::join!(engine.run(receive_commands), outside.pass_on(commands));
    info!("stopped; tokens at the schedds stay valid");
    Ok(())
}

/// Returns a token that is cancelled by SIGTERM and by SIGINT.
fn stop_signals() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let received = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        received.cancel();
    });
    Ok(stop)
}

/// Events from outside the engine: signals, changed files, and orders to reload.
struct Outside {
    hangup: Signal,
    /// Cancelled when the service is to stop.
    stop: CancellationToken,
    reloads: mpsc::Receiver<(ReloadOrder, oneshot::Sender<Reloaded>)>,
    /// Parts in force.
    parts: Arc<RealParts>,
    watch: Watch,
    files: Reload,
}

type Commands = mpsc::Sender<Command<HtVault, Transports<HtVault>>>;

impl Outside {
    /// Turns events into commands for the engine until a signal stops the service.
    async fn pass_on(mut self, commands: Commands) {
        loop {
            let (trigger, answer) = tokio::select! {
                _ = self.hangup.recv() => (Trigger::Order, None),
                () = self.watch.changed(&self.files.current.check, self.files.faults.is_some()) => (Trigger::Files, None),
                Some((order, answer)) = self.reloads.recv() => {
                    let trigger = if order.dry_run { Trigger::DryRun } else { Trigger::Order };
                    (trigger, Some(answer))
                }
                () = self.stop.cancelled() => break,
            };
            let stop = self.stop.clone();
            // A file system may be slow, and so may owners that are busy with a schedd.
            let reloaded = tokio::select! {
                reloaded = self.reload(trigger, &commands) => reloaded,
                () = stop.cancelled() => None,
            };
            let Some(reloaded) = reloaded else { break };
            if let Some(answer) = answer {
                // The client may have disconnected.
                let _ = answer.send(reloaded);
            }
        }
        notify(&[NotifyState::Stopping]);
        // The engine may have stopped already.
        let _ = commands.send(Command::Stop).await;
    }

    /// Reloads the configuration; with faults the old one stays in force. Returns the answer for the client once the
    /// configuration is in force; `None` when the service stops.
    async fn reload(&mut self, trigger: Trigger, commands: &Commands) -> Option<Reloaded> {
        // systemd waits for the end of a reload that it requested, and needs no notice of others.
        if trigger == Trigger::Order {
            match NotifyState::monotonic_usec_now() {
                Ok(now) => notify(&[NotifyState::Reloading, now]),
                Err(_) => notify(&[NotifyState::Reloading]),
            }
        }
        let before = Arc::clone(&self.parts);
        let prepare = move |config: &Config| parts_anew(&before, config);
        let (report, new) = self.files.read(trigger, prepare).await;
        // A dry run puts nothing in force, and so changes nothing in what is wrong.
        if trigger != Trigger::DryRun {
            let faults = self.files.faults.clone();
            commands.send(Command::Faults(faults)).await.ok()?;
        }
        if let Some((config, parts)) = new {
            tokio::spawn(warn_of_host(Arc::clone(&config)));
            self.parts = Arc::clone(&parts);
            let (answer, in_force) = oneshot::channel();
            let command = Command::Reload(config, parts, answer);
            commands.send(command).await.ok()?;
            in_force.await.ok()?;
        }
        if trigger == Trigger::Order {
            notify(&[NotifyState::Ready]);
        }
        Some(report)
    }
}
