//! A start, up to the loop: configuration, folders to be written to, rights, log.
//!
//! Always true: what may hang is on threads of its own, so that a start can be dropped while it waits; it begins no
//! thread that stays before the rights are given up, so that all have no more than they need.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;

use htvault::clock::SystemClock;
use tokio::signal::unix::Signal;
use tokio::time::timeout;

use super::apart::{ANSWER, on_thread};
use super::control::{Control, RETRY, problem, read};
use super::privileges::{Found, Places, open_folders};
use super::trust::Trust;
use crate::cli::Cli;
use crate::config::Settings;
use crate::config::condor::Source;
use crate::renewal::HtVault;
use crate::report::log::{self, Detail, Log};

/// Exit code that HTCondor's master takes for "cannot write my log".
const LOG_NOT_WRITABLE: u8 = 44;

/// Thread that writes the status.
type Writing = Option<JoinHandle<()>>;

/// Starts. Returns, beside the control and the log, the files in words that could not be given a place to write to, and
/// the thread that may still be writing the status.
///
/// # Errors
/// The exit code, when one pass was asked for and there is something to wait for, or the log cannot be written.
pub(super) async fn start<'c>(
    cli: &'c Cli,
    hangups: &mut Signal,
) -> Result<(Control<'c>, Vec<String>, Log, Writing), ExitCode> {
    let mut writing = None;
    let (source, settings) = configure(cli, hangups, &mut writing).await?;
    let log_file = log_file(cli, &settings);
    let mut writable_log = log_file.as_deref();
    let mut complaints = Vec::new();
    let (places, events) = if settings.confine {
        let found = find_folders(cli, &settings, writable_log, &mut writing).await?;
        let left_out = found.complaints(&cli.name);
        let answers = |file: &&Path| !found.is_silent(file);
        let answering_log = writable_log.filter(answers);
        let (places, events) = Places::give_up(found);
        if places.are_confined() {
            // What does not answer cannot be written to any more.
            (complaints, writable_log) = (left_out, answering_log);
        }
        (places, events)
    } else {
        Places::everywhere()
    };
    let log = open_log(cli, writable_log).await?;
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
    let control = Control {
        cli,
        source,
        vault: Arc::new(HtVault::new(None)),
        places,
        log_file,
        trust: Trust::new(settings.tls.clone()),
        settings,
    };
    Ok((control, complaints, log, writing))
}

/// Reads the configuration until it is usable: what a site configured is never guessed.
async fn configure(
    cli: &Cli,
    hangups: &mut Signal,
    writing: &mut Writing,
) -> Result<(Source, Settings), ExitCode> {
    loop {
        let (source, settings) = read(cli).await;
        let Some(why) = problem(&source, &settings, None) else {
            return Ok((source, settings));
        };
        publish(writing, cli, &settings, &why);
        eprintln!("condor_credmon_htvault: {why}; it is tried again each minute");
        if cli.once {
            return Err(ExitCode::FAILURE);
        }
        // SIGHUP comes after a correction.
        let _ = timeout(RETRY, hangups.recv()).await;
    }
}

/// Finds the folders to be written to. Without the credential directory there is nothing to do, and after its rights are
/// given up the process could never write there: its file system is waited for.
async fn find_folders(
    cli: &Cli,
    settings: &Settings,
    log: Option<&Path>,
    writing: &mut Writing,
) -> Result<Found, ExitCode> {
    let mut folders = Vec::new();
    if let Some(directory) = settings.directory.clone() {
        let why = format!("the file system of {} does not answer", directory.display());
        let find = move || open_folders(&directory);
        let mut answer = on_thread("places", find.clone());
        let mut pause = ANSWER;
        folders = loop {
            match timeout(pause, &mut answer).await {
                Ok(Ok(folders)) => break folders,
                // The thread could not be started.
                Ok(Err(_)) => {
                    tokio::time::sleep(ANSWER).await;
                    answer = on_thread("places", find.clone());
                }
                Err(_) => {}
            }
            pause = RETRY;
            eprintln!("condor_credmon_htvault: {why}");
            if cli.once {
                return Err(ExitCode::FAILURE);
            }
            publish(writing, cli, settings, &why);
        };
    }
    Ok(Found::of(folders, &outputs(settings, log)).await)
}

/// Opens the log. One whose file system does not answer is opened when it does.
async fn open_log(cli: &Cli, file: Option<&Path>) -> Result<Log, ExitCode> {
    let start = |file, terminal| Log::start(file, terminal, Arc::new(SystemClock));
    let error = match start(file, cli.verbose) {
        Ok((log, opened)) => match timeout(ANSWER, opened).await {
            Ok(Ok(Err(error))) => error,
            _ => return Ok(log),
        },
        Err(error) => error,
    };
    let name = file.unwrap_or("".as_ref()).display();
    eprintln!("condor_credmon_htvault: log {name} cannot be written: {error}");
    // Somebody watches the terminal.
    let terminal = cli.verbose.then(|| start(None, true).ok()).flatten();
    let log = terminal.map(|(log, _)| log);
    log.ok_or(ExitCode::from(LOG_NOT_WRITABLE))
}

/// Log file; `None` for the terminal alone.
fn log_file(cli: &Cli, settings: &Settings) -> Option<PathBuf> {
    let file = cli.log_file.clone().or_else(|| settings.log.clone());
    file.filter(|file| cli.log_file.is_none() || file != Path::new("-"))
}

/// Files that this process makes, besides those of the credential directory.
pub(super) fn outputs(settings: &Settings, log: Option<&Path>) -> Vec<PathBuf> {
    let files = [
        &settings.outputs.status_file,
        &settings.outputs.metrics_file,
    ];
    let files = files.into_iter().flatten().map(PathBuf::as_path);
    let copies = settings.copies.iter().map(|copy| copy.path.as_path());
    files.chain(copies).chain(log).map(Path::to_owned).collect()
}

/// Publishes why the start does not get on, off the loop; nothing where one pass was asked for: another daemon may run. One
/// at a time: a file system that hangs costs one thread.
fn publish(writing: &mut Writing, cli: &Cli, settings: &Settings, why: &str) {
    if !cli.once && writing.as_ref().is_none_or(JoinHandle::is_finished) {
        let (settings, why) = (settings.clone(), why.to_owned());
        let publish = move || super::reporting::publish_failed_start(&settings, &why);
        let thread = std::thread::Builder::new().name("status".to_owned());
        // One that cannot be started is started the next time.
        *writing = thread.spawn(publish).ok();
    }
}
