//! A start before rights are given up: the folders that are to be written to, and why it does not get on.

use std::thread::JoinHandle;

use super::apart::{ANSWER, on_thread};
use super::control::RETRY;
use super::privileges::Found;
use crate::cli::Cli;
use crate::config::Settings;

/// Finds the folders to be written to. Without the credential directory there is nothing to do, and after its rights are
/// given up the process could never write there: its file system is waited for. `None` when one pass was asked for.
pub(super) async fn find_folders(
    cli: &Cli,
    settings: &Settings,
    reports: &mut FailedStart,
) -> Option<Found> {
    if !settings.confine {
        return Some(Found::default());
    }
    let mut folders = Vec::new();
    if let Some(directory) = settings.directory.clone() {
        let why = format!("the file system of {} does not answer", directory.display());
        let find = move || super::privileges::open_folders(&directory);
        let mut answer = on_thread("places", find.clone());
        let mut pause = ANSWER;
        folders = loop {
            match tokio::time::timeout(pause, &mut answer).await {
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
                return None;
            }
            reports.publish(settings.clone(), why.clone());
        };
    }
    let log = super::log_file(cli, settings);
    let mut files = super::written(settings, log.as_deref());
    files.retain(|file| Some(file) != settings.directory.as_ref());
    Some(Found::of(folders, &files).await)
}

/// Publishes why the start does not get on, off the loop. One at a time: a file system that hangs costs one thread.
#[derive(Default)]
pub(super) struct FailedStart(Option<JoinHandle<()>>);

impl FailedStart {
    pub(super) fn publish(&mut self, settings: Settings, why: String) {
        if self.0.as_ref().is_none_or(JoinHandle::is_finished) {
            let publish = move || super::reporting::publish_failed_start(&settings, &why);
            let thread = std::thread::Builder::new().name("status".to_owned());
            // One that cannot be started is started the next time.
            self.0 = thread.spawn(publish).ok();
        }
    }
}
