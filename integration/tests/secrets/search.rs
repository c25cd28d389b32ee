//! Places where a secret could be: files, open files that have no name any more, arguments and environments.
//!
//! What always holds: each place is named when a secret is found in it, with the secret's kind and nothing of it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::unistd::Pid;

use super::known::{Finder, Kind};

/// A secret at a place.
pub type Found = (String, Kind);

/// All secrets in plain files below a folder and in their names, on its own file system, but for some folders.
pub fn files(finder: &Finder, folder: &Path, but: &[PathBuf]) -> Vec<(PathBuf, Kind)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    let device = |path: &Path| fs::symlink_metadata(path).map(|meta| meta.dev());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
        {
            let path = entry.path();
            // A file may go while this looks.
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            let mut kinds = finder.find(entry.file_name().as_encoded_bytes());
            if but.contains(&path) {
                continue;
            }
            if kind.is_dir() && device(&path).ok() == device(&folder).ok() {
                folders.push(path.clone());
            } else if kind.is_file() {
                kinds.extend(finder.find(&fs::read(&path).unwrap_or_default()));
            } else if kind.is_symlink() {
                let target = fs::read_link(&path).unwrap_or_default();
                kinds.extend(finder.find(target.as_os_str().as_encoded_bytes()));
            }
            found.extend(kinds.into_keys().map(|kind| (path.clone(), kind)));
        }
    }
    found
}

/// Files that are open and have no name: deleted ones, and those in memory.
pub fn nameless(finder: &Finder) -> Vec<Found> {
    let mut found = Vec::new();
    for process in processes() {
        let open = fs::read_dir(process.join("fd")).into_iter().flatten();
        for entry in open.filter_map(Result::ok) {
            let path = entry.path();
            let target = fs::read_link(&path).unwrap_or_default();
            let name = target.to_string_lossy().into_owned();
            let is_file = fs::metadata(&path).is_ok_and(|meta| meta.is_file());
            if is_file && (name.ends_with(" (deleted)") || name.starts_with("/memfd:")) {
                let kinds = finder.find(&fs::read(&path).unwrap_or_default());
                let place = format!("{} of {}", name, command(&process));
                found.extend(kinds.into_keys().map(|kind| (place.clone(), kind)));
            }
        }
    }
    found
}

fn processes() -> Vec<PathBuf> {
    let all = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    let is_one = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()))
    };
    all.map(|entry| entry.path()).filter(is_one).collect()
}

fn command(process: &Path) -> String {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    name.trim().to_owned()
}

/// An argument list or an environment of a process: its name, `cmdline` or `environ`, the content.
pub type Seen = (String, &'static str, Vec<u8>);

/// Reads the arguments and environments of all processes of the sandbox, again and again.
pub struct Sampler {
    stop: Sender<()>,
    thread: JoinHandle<BTreeSet<Seen>>,
}

impl Sampler {
    pub fn start() -> Self {
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while stopped.recv_timeout(Duration::from_millis(10)) == Err(RecvTimeoutError::Timeout)
            {
                for process in processes() {
                    for what in ["cmdline", "environ"] {
                        let name = command(&process);
                        let content = fs::read(process.join(what)).unwrap_or_default();
                        // One that became another program meanwhile, or ended, is seen by its right name the
                        // next time.
                        if !name.is_empty() && name == command(&process) {
                            seen.insert((name, what, content));
                        }
                    }
                }
            }
            seen
        });
        Self { stop, thread }
    }

    /// All that was seen.
    pub fn stop(self) -> BTreeSet<Seen> {
        drop(self.stop);
        self.thread.join().unwrap()
    }
}

/// Secrets in an argument list or an environment, with the variable that each is in.
pub fn in_strings(finder: &Finder, (process, what, content): &Seen) -> Vec<Found> {
    let mut found = Vec::new();
    for text in content.split(|byte| *byte == 0) {
        let variable = text.split(|b| *b == b'=').next().unwrap_or_default();
        let name = if *what == "environ" {
            String::from_utf8_lossy(variable).into_owned()
        } else {
            "an argument".to_owned()
        };
        let kinds = finder.find(text).into_keys();
        found.extend(kinds.map(|kind| (format!("{name} of {process} ({what})"), kind)));
    }
    found
}

/// All that a process has in memory that can be written.
pub fn memory(pid: Pid) -> std::io::Result<Vec<u8>> {
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut all = Vec::new();
    for line in fs::read_to_string(format!("/proc/{pid}/maps"))?.lines() {
        let mut fields = line.split_whitespace();
        let (Some(range), Some(rights)) = (fields.next(), fields.next()) else {
            continue;
        };
        let ends = range.split_once('-').and_then(|(from, to)| {
            Some((
                u64::from_str_radix(from, 16).ok()?,
                u64::from_str_radix(to, 16).ok()?,
            ))
        });
        let Some((from, to)) = ends.filter(|_| rights.starts_with("rw")) else {
            continue;
        };
        let mut region = vec![0; usize::try_from(to - from).unwrap_or_default()];
        // Pages that were never touched, and those of devices, cannot be read.
        if memory.read_exact_at(&mut region, from).is_ok() {
            all.extend(region);
        }
    }
    Ok(all)
}
