//! Wiring: the process's own safety, its start, its threads, its signals, its end.
//!
//! In this order: signal handlers; the start (`start.rs`); certificate authorities; threads; the loop (`daemon.rs`), and
//! beside it what follows the configuration (`control.rs`) and passes signals on.

mod apart;
mod control;
mod daemon;
mod privileges;
mod reporting;
mod signals;
mod start;
mod trust;

use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use htvault::clock::{Clock as _, SystemClock};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use tokio::runtime;
use tokio::sync::mpsc::{self, unbounded_channel};

use crate::cli::{self, Cli, CliCommand};
use crate::config::Settings;
use crate::renewal::HtVault;
use crate::report::Publisher;
use crate::report::log::Log;
use crate::scheduler::Gate;
use crate::store::{Scanner, wakes};
use daemon::{Command, Daemon, Parts};
use signals::Signals;

/// Time that the end waits for threads that hang.
const GRACE: Duration = Duration::from_secs(2);

/// Threads for operations on files, which may hang.
const FILE_THREADS: usize = 4;

/// Runs the program.
#[must_use]
pub fn run(cli: &Cli) -> ExitCode {
    protect();
    let outcome = match &cli.command {
        Some(CliCommand::Status(args)) => runtime()
            .map(|runtime| runtime.block_on(cli::run_status(&cli.name, args, SystemClock.now()))),
        None => serve(cli),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("condor_credmon_htvault: {error:#}");
        ExitCode::FAILURE
    })
}

/// Keeps secrets out of core dumps and of other processes' sight. Nothing here is worth failing for.
fn protect() {
    umask(Mode::from_bits_truncate(0o022));
    let outcomes = [
        setrlimit(Resource::RLIMIT_CORE, 0, 0),
        nix::sys::prctl::set_dumpable(false),
        nix::sys::prctl::set_no_new_privs(),
    ];
    for error in outcomes.into_iter().filter_map(Result::err) {
        eprintln!("condor_credmon_htvault: a protection of the process is missing: {error}");
    }
}

/// Raises the limit of open descriptors to what the system permits; returns it.
fn raise_descriptors() -> u64 {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}

/// A runtime on this thread: more threads for requests were measured slower, for each of them is woken
/// for little. Operations on files, which may hang, have threads of their own.
fn runtime() -> anyhow::Result<runtime::Runtime> {
    Ok(runtime::Builder::new_current_thread()
        .max_blocking_threads(FILE_THREADS)
        .enable_all()
        .build()?)
}

/// Runs the daemon, or one pass of it.
fn serve(cli: &Cli) -> anyhow::Result<ExitCode> {
    let descriptors = raise_descriptors();
    let runtime = runtime()?;
    let mut log = None;
    let code = runtime.block_on(until_the_end(cli, descriptors, &mut log));
    runtime.shutdown_timeout(GRACE);
    if let Some(log) = log {
        log.flush(GRACE);
    }
    code
}

/// Starts, and works until a signal asks for the end, or one pass is over.
async fn until_the_end(
    cli: &Cli,
    descriptors: u64,
    log: &mut Option<Log>,
) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let mut hangups = signals::hangups()?;
    let started = tokio::select! {
        started = start::start(cli, &mut hangups) => started,
        _ = signals.stop() => return Ok(ExitCode::SUCCESS),
    };
    let (mut control, complaints, log, writing) = match started {
        Ok((control, complaints, opened, writing)) => {
            (control, complaints, log.insert(opened), writing)
        }
        Err(code) => return Ok(code),
    };
    tokio::select! {
        () = control.read_trust() => {}
        _ = signals.stop() => return Ok(ExitCode::SUCCESS),
    }
    let mut settings = control.settings.clone();
    settings.problems.extend(complaints);
    let (vault, gate) = (control.vault.clone(), Gate::new(descriptors));
    let publisher = Publisher::start(writing)?;
    let (parts, scan) = start_threads(cli, &settings, vault, log, gate, &publisher)?;
    let daemon = Daemon::new(parts, settings, control.trust.problem.clone());
    let (commands, received) = mpsc::channel(16);
    let stop = signals.pass_on(signals::hangups()?, &commands);
    let good = tokio::select! {
        good = Box::pin(run_loop(cli.once, daemon, received, stop)) => good,
        never = control.run(hangups, &commands) => never,
    };
    // The loop logs those of all writings before.
    for problem in publisher.flush(GRACE) {
        tracing::error!("{problem}");
    }
    let deadline = std::time::Instant::now() + GRACE;
    while !scan.is_finished() && std::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(ExitCode::from(u8::from(!good)))
}

/// Starts the threads that the loop works with, the scanner's among them.
fn start_threads(
    cli: &Cli,
    settings: &Settings,
    vault: Arc<HtVault>,
    log: &Log,
    gate: Gate,
    publisher: &Publisher,
) -> anyhow::Result<(Parts<HtVault>, JoinHandle<()>)> {
    let clock = Arc::new(SystemClock);
    let (to_scanner, wakes) = wakes()?;
    let (observations, observed) = unbounded_channel();
    let directory = settings.directory.clone();
    let scanner = Scanner::new(directory, cli.once, observations, clock.clone());
    let parts = Parts {
        vault,
        clock,
        gate,
        scanner: to_scanner,
        installed: scanner.installed.clone(),
        scanning: scanner.heartbeat.clone(),
        observed,
        publisher: publisher.clone(),
        log: Some(log.clone()),
    };
    let scan = std::thread::Builder::new().name("scan".to_owned());
    let scan = scan.spawn(move || scanner.run(&wakes))?;
    Ok((parts, scan))
}

/// Runs the loop until the end; `true` when that was asked for, or all is good after the one pass of `--once`.
async fn run_loop(
    is_once: bool,
    daemon: Daemon<HtVault>,
    commands: mpsc::Receiver<Command>,
    stop: impl Future<Output = ()>,
) -> bool {
    if is_once {
        // Nobody obeys.
        drop(commands);
        tokio::select! {
            good = daemon.run_once() => good,
            () = stop => false,
        }
    } else {
        until_stopped(daemon.run(commands), stop).await
    }
}

/// Runs the loop until it was asked to stop, and did; `false` when it ends by itself.
async fn until_stopped(daemon: impl Future<Output = bool>, stop: impl Future<Output = ()>) -> bool {
    tokio::pin!(daemon);
    tokio::select! {
        _ = &mut daemon => false,
        () = stop => {
            daemon.await;
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn a_loop_that_ends_by_itself_ends_the_program_which_is_not_good() {
        assert!(!until_stopped(ready(true), pending()).await);
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let daemon = async {
            stopped.await.unwrap();
            false
        };
        let asked = async { stop.send(()).unwrap() };
        assert!(
            until_stopped(daemon, asked).await,
            "whatever state all is in"
        );
    }
}
