//! Obstacles for monitors: a disk that is full, a pipe that nobody writes to.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nix::mount::{MntFlags, MsFlags};
use nix::unistd::{Pid, getpgid};

/// Whether a process of a group is in the middle of opening a named pipe that nobody writes to.
pub(super) fn waits_for_writer(group: Pid) -> anyhow::Result<bool> {
    for entry in fs::read_dir("/proc")?.flatten() {
        let pid = entry.file_name().to_string_lossy().parse::<i32>();
        let Ok(pid) = pid.map(Pid::from_raw) else {
            continue;
        };
        // Processes end at any time.
        let is_its = getpgid(Some(pid)) == Ok(group);
        let place = fs::read_to_string(entry.path().join("wchan")).unwrap_or_default();
        if is_its && place == "wait_for_partner" {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether any process has a file open.
pub(super) fn is_open(file: &Path) -> anyhow::Result<bool> {
    let identity = |meta: fs::Metadata| (meta.dev(), meta.ino());
    let file = identity(file.metadata().context("it is there")?);
    for process in fs::read_dir("/proc")?.flatten() {
        // Processes end at any time, and what is no process has no descriptors.
        let descriptors = fs::read_dir(process.path().join("fd"));
        let mut open = descriptors.into_iter().flatten().flatten();
        if open.any(|entry| fs::metadata(entry.path()).is_ok_and(|meta| identity(meta) == file)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes until the disk is full.
pub(super) fn fill(at: &Path) -> anyhow::Result<()> {
    let mut file = fs::File::create(at)?;
    // The error is the aim.
    while file.write_all(&[b'x'; 4096]).is_ok() {}
    Ok(())
}

/// A small disk in memory, gone when dropped.
pub(super) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(super) fn mount(at: &Path) -> anyhow::Result<Self> {
        let options = Some("size=256k");
        nix::mount::mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), options)
            .with_context(|| format!("cannot mount a small disk at {}", at.display()))?;
        Ok(Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The sandbox takes it away in the end, whatever happens here.
        let _ = nix::mount::umount2(&self.0, MntFlags::MNT_DETACH);
    }
}
