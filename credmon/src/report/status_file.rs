//! The status on disk: a line of JSON for the daemon, then one for each credential.
//!
//! Readable by all who may read the file's folder, so nothing in it is secret; whole, for it is
//! installed by a rename; written and read line by line.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Read as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::model::{CredentialStatus, DaemonStatus, Snapshot};

/// Longest line that is read, in bytes.
const LINE_LIMIT: u64 = 256 * 1024;

/// Writes a status.
pub(crate) fn write(to: &mut dyn Write, snapshot: &Snapshot) -> io::Result<()> {
    serde_json::to_writer(&mut *to, &snapshot.daemon)?;
    to.write_all(b"\n")?;
    let mut line = Vec::new();
    for credential in snapshot.credentials.statuses() {
        line.clear();
        serde_json::to_writer(&mut line, &credential)?;
        line.push(b'\n');
        to.write_all(&line)?;
    }
    Ok(())
}

/// Reads a status, and the credentials of it that `wanted` picks.
///
/// # Errors
/// It cannot be read, is no plain file, or is not what [`write()`] writes.
pub(crate) fn read(
    path: &Path,
    wanted: impl Fn(&CredentialStatus) -> bool,
) -> io::Result<(DaemonStatus, Vec<CredentialStatus>)> {
    // Non-blocking, so that a pipe does not block.
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    let mut file = BufReader::new(file);
    let mut next = || -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let read = file
            .by_ref()
            .take(LINE_LIMIT)
            .read_until(b'\n', &mut line)?;
        Ok((read > 0).then_some(line))
    };
    let first = next()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let daemon: DaemonStatus = serde_json::from_slice(&first)?;
    let mut credentials = Vec::new();
    let mut count = 0;
    while let Some(line) = next()? {
        let credential = serde_json::from_slice(&line)?;
        count += 1;
        if wanted(&credential) {
            credentials.push(credential);
        }
    }
    if count == daemon.count {
        Ok((daemon, credentials))
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests;
