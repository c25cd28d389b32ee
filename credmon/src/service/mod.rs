//! Wiring: the process's own safety, its configuration, its threads, its signals.
//!
//! Order of a start: signal handlers; configuration, until it is usable; log; rights given up; then
//! all threads, which therefore have no more rights than they need.

mod apart;
mod control;
mod daemon;
mod privileges;
mod reporting;
mod start;
mod trust;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::Context as _;
use htvault::clock::{Clock as _, SystemClock};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use tokio::runtime;
use tokio::sync::mpsc::{self, unbounded_channel};

use crate::cli::{self, Cli, CliCommand};
use crate::config::Settings;
use crate::renewal::HtVault;
use crate::report::Publisher;
use crate::report::log::{self, Detail, Log};
use crate::scheduler::Gate;
use crate::store::Scanner;
use control::{Configured, Control, Signals, beside_signals};
use daemon::{Daemon, Parts};
use privileges::Places;
use trust::Trust;

/// Exit code that HTCondor's master takes for "cannot write my log".
const LOG_NOT_WRITABLE: u8 = 44;

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

fn serve(cli: &Cli) -> anyhow::Result<ExitCode> {
    let descriptors = raise_descriptors();
    let starting = runtime()?;
    let configured = starting.block_on(async {
        let mut signals = Signals::new()?;
        anyhow::Ok(control::configure(cli, &mut signals).await)
    })?;
    drop(starting);
    let (configuration, mut settings, found) = match configured {
        Configured::Usable(configuration, settings, found) => (configuration, settings, found),
        Configured::Failed => return Ok(ExitCode::FAILURE),
        Configured::Stopped => return Ok(ExitCode::SUCCESS),
    };

    let configured = (configuration, (*settings).clone());
    // One that does not answer cannot be written to any more when the rights are given up.
    let log_file = log_file(cli, &settings).filter(|file| !found.is_silent(file));
    let (places, events) = if settings.confine {
        settings.problems.extend(found.complaints(&cli.name));
        Places::give_up(found)
    } else {
        Places::everywhere()
    };
    let Some(log) = open_log(cli, log_file.as_deref())? else {
        return Ok(ExitCode::from(LOG_NOT_WRITABLE));
    };
    log.install(Detail {
        renewals: cli.verbose,
        debug: cli.debug || settings.full_debug,
    });
    tracing::info!(
        "condor_credmon_htvault {} starts as {}, process {}",
        env!("CARGO_PKG_VERSION"),
        cli.name,
        std::process::id()
    );
    events.iter().for_each(log::event);

    let runtime = runtime()?;
    let outcome = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let reading = trust::read_at_start(&settings.tls);
        let Ok(read) = beside_signals(reading, &mut signals, || ()).await else {
            return Ok(true);
        };
        let vault = Arc::new(HtVault::new(read.authorities.clone()));
        let trust = Trust::new(settings.tls.clone(), read);
        let control = Control::new(cli, configured, vault.clone(), places, trust);
        let gate = Gate::new(descriptors);
        Box::pin(work(cli, *settings, control, signals, vault, &log, gate)).await
    });
    runtime.shutdown_timeout(GRACE);
    log.flush(GRACE);
    let good = outcome?;
    Ok(ExitCode::from(u8::from(!good)))
}

/// Runs the loop and what controls it, until that stops it; `false` when the loop ends by itself.
async fn until_stopped(
    daemon: impl Future<Output = bool>,
    control: impl Future<Output = ()>,
) -> bool {
    tokio::pin!(daemon);
    tokio::select! {
        _ = &mut daemon => false,
        () = control => {
            daemon.await;
            true
        }
    }
}

/// Starts the threads, and runs the loop and what controls it until the end; `true` when it was asked for, and all is
/// good after the one pass of `--once`.
async fn work(
    cli: &Cli,
    settings: Settings,
    control: Control<'_>,
    signals: Signals,
    vault: Arc<HtVault>,
    log: &Log,
    gate: Gate,
) -> anyhow::Result<bool> {
    let clock = Arc::new(SystemClock);
    let (wake, wakes) = channel();
    let (observations, observed) = unbounded_channel();
    let directory = settings.directory.clone();
    let to_scanner = wake.clone();
    let scanner = Scanner::new(directory, cli.once, to_scanner, observations, clock.clone());
    let installed = scanner.installed.clone();
    let scanning = scanner.heartbeat.clone();
    let scan = std::thread::Builder::new().name("scan".to_owned());
    let scan = scan.spawn(move || scanner.run(&wakes))?;
    let publisher = Publisher::start()?;
    let (commands, received) = mpsc::channel(16);
    let parts = Parts {
        vault,
        clock,
        gate,
        wake,
        installed,
        scanning,
        observed,
        publisher: publisher.clone(),
        log: Some(log.clone()),
    };
    let daemon = Daemon::new(parts, settings, control.trust_problem());
    let good = if cli.once {
        // Nobody obeys.
        drop(received);
        tokio::select! {
            good = daemon.run_once() => good,
            () = control.run(signals, &commands) => false,
        }
    } else {
        let daemon = daemon.run(received);
        Box::pin(until_stopped(daemon, control.run(signals, &commands))).await
    };
    publisher.flush(GRACE);
    let deadline = std::time::Instant::now() + GRACE;
    while !scan.is_finished() && std::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(good)
}

/// Opens the log; `None` when its file cannot be written and nobody watches the terminal.
fn open_log(cli: &Cli, file: Option<&Path>) -> anyhow::Result<Option<Log>> {
    let clock = Arc::new(SystemClock);
    match Log::open(file, cli.verbose, clock.clone()) {
        Ok(log) => Ok(Some(log)),
        Err(error) => {
            let name = file.unwrap_or("".as_ref()).display();
            eprintln!("condor_credmon_htvault: log {name} cannot be written: {error}");
            let terminal = cli.verbose.then(|| Log::open(None, true, clock));
            terminal.transpose().context("log on the terminal")
        }
    }
}

/// Log file; `None` for the terminal alone.
fn log_file(cli: &Cli, settings: &Settings) -> Option<PathBuf> {
    match &cli.log_file {
        Some(file) if file == Path::new("-") => None,
        Some(file) => Some(file.clone()),
        None => settings.log.clone(),
    }
}

/// Files and directories that this process makes.
fn written(settings: &Settings, log: Option<&Path>) -> Vec<PathBuf> {
    let directory = settings.directory.as_ref();
    let outputs = [
        directory,
        settings.outputs.status_file.as_ref(),
        settings.outputs.metrics_file.as_ref(),
    ];
    let outputs = outputs.into_iter().flatten().map(PathBuf::as_path);
    let copies = settings.copies.iter().map(|copy| copy.path.as_path());
    outputs
        .chain(copies)
        .chain(log)
        .map(Path::to_owned)
        .collect()
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
        let control = async { stop.send(()).unwrap() };
        assert!(
            until_stopped(daemon, control).await,
            "whatever state all is in"
        );
    }
}
