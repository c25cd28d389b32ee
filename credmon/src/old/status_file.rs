//! The status on disk: a line of JSON for the daemon, then one for each credential.
//!
//! Readable by all who may read the file's folder, so nothing in it is secret; whole, for it is put
//! in place by a rename; written and read line by line, so that thousands of credentials take no
//! memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::Gid;
use serde::Serialize;

use crate::old::folder::Folder;
use crate::old::placing::{self, Like, Owner, PlaceFault, Step};
use crate::old::status::{CredentialStatus, DaemonStatus};

/// Longest line that is read, in bytes.
const LINE_LIMIT: u64 = 256 * 1024;

/// Puts a file for others to read in place; its group is the folder's.
///
/// # Errors
/// The system refuses; what was there is untouched then.
pub fn put(
    path: &Path,
    mode: Mode,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), PlaceFault> {
    let bad = PlaceFault {
        step: Step::Make,
        errno: Errno::EINVAL,
    };
    let name = path.file_name().and_then(|name| name.to_str()).ok_or(bad)?;
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = Folder::open(parent.unwrap_or(Path::new("."))).map_err(|errno| PlaceFault {
        step: Step::Make,
        errno,
    })?;
    let group = folder.stat().map(|stat| Gid::from_raw(stat.st_gid));
    let like = Like {
        mode,
        owner: group.map_or(Owner::Ours, Owner::Group),
        sync: false,
    };
    let placed = placing::place(&folder, name, like, |file| {
        let mut buffer = BufWriter::new(file);
        content(&mut buffer)?;
        buffer.flush()
    });
    placed.map(drop)
}

/// Writes a status.
///
/// # Errors
/// The writer's.
pub fn write<T: AsRef<str> + Serialize>(
    to: &mut dyn Write,
    daemon: &DaemonStatus,
    credentials: impl Iterator<Item = CredentialStatus<T>>,
) -> io::Result<()> {
    // A line is put together first: each of its many pieces would cost a call of the writer's.
    let mut line = Vec::new();
    serde_json::to_writer(&mut line, daemon)?;
    line.push(b'\n');
    to.write_all(&line)?;
    for credential in credentials {
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
/// It cannot be read, or is not what [`write()`] writes.
pub fn read(
    path: &Path,
    wanted: impl Fn(&CredentialStatus) -> bool,
) -> io::Result<(DaemonStatus, Vec<CredentialStatus>)> {
    let mut file = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    let mut next = || -> io::Result<Option<Vec<u8>>> {
        line.clear();
        let read = io::Read::take(&mut file, LINE_LIMIT).read_until(b'\n', &mut line)?;
        Ok((read > 0).then(|| line.clone()))
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
mod tests {
    use super::*;
    use crate::old::state::State;
    use crate::old::status::tests::{credential, daemon};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status");
        let daemon = DaemonStatus {
            count: 2,
            ..daemon()
        };
        let all = [
            credential("a", State::Fresh, 1),
            credential("b", State::Dead, 1),
        ];
        let content = |to: &mut dyn Write| write(to, &daemon, all.clone().into_iter());
        put(&path, Mode::from_bits_truncate(0o644), content).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o644);
        let (read_daemon, some) = read(&path, |c| c.user == "b").unwrap();
        assert_eq!((read_daemon, some), (daemon, vec![all[1].clone()]));
        // A file that somebody copied halfway is not believed.
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.lines().next().unwrap()).unwrap();
        assert!(read(&path, |_| true).is_err());
        std::fs::write(&path, "").unwrap();
        assert!(read(&path, |_| true).is_err());
    }
}
