//! The file of the state: JSON that a person can read and search by lines, mode 0600, replaced as a whole.
//!
//! Always true: each line is the state of its delivery, revocation, grant or login at the beginning of the writing, or later.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::iter;
use std::ops::Bound;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::Path;

use nix::libc;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::Shared;
use super::content::{Content, RevocationRecord};
use crate::model::delivery::DeliveryId;
use crate::model::grants::Grants;
use crate::model::records::{LoginRecord, TokenRecords};

const NAME: &str = "state.json";
/// Format version: increased when the meaning of a field changes.
const VERSION: u32 = 2;
/// Longest file that is read, in bytes: some 100,000 deliveries.
const LIMIT: u64 = 64 * 1024 * 1024;

/// Lines that are read from the state at a time.
const AT_ONCE: usize = 64;

/// Files of version 1, which had one for each concern.
const DELIVERIES: &str = "deliveries.json";
const REVOKED: &str = "cut-off.json";
const GRANTS: &str = "grants.json";

/// The file, as it is read. In version 1 it had only deliveries.
#[derive(Default, Deserialize)]
struct Whole {
    #[serde(rename = "version")]
    _version: u32,
    deliveries: Vec<Line<DeliveryId, TokenRecords>>,
    #[serde(default)]
    revoked: Vec<Line<DeliveryId, RevocationRecord>>,
    #[serde(default)]
    grants: Grants,
    #[serde(default)]
    logins: Vec<LoginRecord>,
}

/// A line of a delivery; read as owned values, written from references.
#[derive(Serialize, Deserialize)]
struct Line<I, T> {
    #[serde(flatten)]
    id: I,
    #[serde(flatten)]
    content: T,
}

/// Format version of a file, if it has one.
#[derive(Deserialize)]
struct Version {
    version: Option<u32>,
}

/// Reads the state; `true` when it came from files of version 1. A file whose content is not understood is renamed, so
/// that people can still find its accessors, and a warning is logged; not by a reader that changes nothing.
///
/// # Errors
/// A file is there and cannot be read now, or is from a later version: what was revoked is not known, and would be
/// delivered again.
pub(super) fn load(state: &Path, may_rename: bool) -> Result<(Content, bool), String> {
    if let Some(whole) = read::<Whole>(&state.join(NAME), may_rename, VERSION)? {
        return Ok((whole.into(), false));
    }
    let whole = read::<Whole>(&state.join(DELIVERIES), may_rename, 1)?;
    let revoked = read(&state.join(REVOKED), may_rename, 1)?;
    let grants = read(&state.join(GRANTS), may_rename, 1)?;
    let is_carried = whole.is_some() || revoked.is_some() || grants.is_some();
    if is_carried {
        info!("state of an earlier version converted to {NAME}");
    }
    let whole = Whole {
        revoked: revoked.unwrap_or_default(),
        grants: grants.unwrap_or_default(),
        ..whole.unwrap_or_default()
    };
    Ok((whole.into(), is_carried))
}

/// Reads a file of a version; `None` when it is missing or its content is not understood.
///
/// # Errors
/// It is there and cannot be read now, or is from a later version.
fn read<T: DeserializeOwned>(
    path: &Path,
    may_rename: bool,
    known: u32,
) -> Result<Option<T>, String> {
    let words = match parse(path, known) {
        Ok(Ok(content)) => return Ok(Some(content)),
        Ok(Err(words)) => words,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => {
            return Err(format!(
                "{} cannot be read: {error}; without it what was revoked would be delivered again: correct its owner and \
                 permissions, or move it away to start without it",
                path.display()
            ));
        }
    };
    let renamed = if may_rename {
        rename(path)
    } else {
        String::new()
    };
    warn!(
        "{} cannot be used: {words}{renamed}; what was revoked is not known any more, and the lifetimes of tokens at credds are \
         estimated until each is replaced",
        path.display()
    );
    Ok(None)
}

/// Reason why revocations may be missing: the state was not understood at some start, and nobody has seen to that since.
/// Blocks.
pub(super) fn missing_revocations(state: &Path) -> Option<String> {
    let of_state = |name: &str| {
        [NAME, REVOKED]
            .iter()
            .any(|own| name.starts_with(&format!("{own}.broken")))
    };
    let names = fs::read_dir(state)
        .ok()?
        .flatten()
        .map(|entry| entry.file_name());
    let left = names
        .filter(|name| name.to_str().is_some_and(of_state))
        .min()?;
    Some(format!(
        "the state could not be used at a start, and was begun anew: deliveries that were revoked before are delivered again; \
         {} has their names under \"revoked\": revoke them again, then remove that file",
        state.join(left).display()
    ))
}

/// Renames a file that cannot be used; what came of it, for the log.
fn rename(path: &Path) -> String {
    let further = (1..1000).map(|number| format!("broken-{number}"));
    let ends = iter::once("broken".to_owned()).chain(further);
    let mut names = ends.map(|end| path.with_added_extension(end));
    // None of before is replaced.
    let Some(broken) = names.find(|name| !name.exists()) else {
        return String::new();
    };
    fs::rename(path, &broken).map_or_else(
        |error| format!("; it could not be renamed: {error}"),
        |()| format!("; it is now {}", broken.display()),
    )
}

/// Content of a file of this version, or the reason why it is not understood.
fn parse<T: DeserializeOwned>(path: &Path, known: u32) -> io::Result<Result<T, String>> {
    let mut options = OpenOptions::new();
    // Non-blocking, in case the file is a FIFO.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOFOLLOW;
    let file = options.read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > LIMIT {
        return Ok(Err("it is no plain file of usual size".to_owned()));
    }
    let mut text = Vec::new();
    (&file).read_to_end(&mut text)?;
    if let Ok(Version { version: Some(of) }) = serde_json::from_slice(&text)
        && of != known
    {
        // A later one may be another format altogether.
        return if of > known {
            Err(io::Error::other("it was written by a later version"))
        } else {
            Ok(Err("it was written by another version".to_owned()))
        };
    }
    // Not the library's message, which quotes the content.
    Ok(serde_json::from_slice(&text).map_err(|fault| {
        let (line, column) = (fault.line(), fault.column());
        format!("its content is not understood at line {line}, column {column}")
    }))
}

/// Writes the state: a line for each delivery, revocation, grant and login.
fn write_lines(file: &File, shared: &Shared) -> io::Result<()> {
    let mut to = BufWriter::new(file);
    write!(to, "{{\n\"version\":{VERSION},\n\"deliveries\":[")?;
    write_entries(
        &mut to,
        shared,
        |content| &content.deliveries,
        |id, content| serde_json::to_string(&Line { id, content }),
    )?;
    write!(to, "],\n\"revoked\":[")?;
    write_entries(
        &mut to,
        shared,
        |content| &content.revoked,
        |id, content| serde_json::to_string(&Line { id, content }),
    )?;
    write!(to, "],\n\"grants\":{{")?;
    write_entries(
        &mut to,
        shared,
        |content| &content.grants,
        |path, age| {
            let path = serde_json::to_string(path)?;
            Ok(format!("{path}:{}", serde_json::to_string(age)?))
        },
    )?;
    write!(to, "}},\n\"logins\":[")?;
    write_entries(
        &mut to,
        shared,
        |content| &content.logins,
        |_, login| serde_json::to_string(login),
    )?;
    write!(to, "]\n}}\n")?;
    to.flush()
}

/// Writes a line for each entry of a map of the state. They are read a few at a time, so that who changes the state waits
/// for none of the disk, and there is no second copy of all.
fn write_entries<K: Ord + Clone, V>(
    to: &mut impl io::Write,
    shared: &Shared,
    map: impl Fn(&Content) -> &BTreeMap<K, V>,
    line: impl Fn(&K, &V) -> serde_json::Result<String>,
) -> io::Result<()> {
    let mut last: Option<K> = None;
    loop {
        let after = last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let (mut text, mut end) = (String::new(), None);
        {
            let inner = shared.inner();
            let entries = map(&inner.content).range((after, Bound::Unbounded));
            for (key, value) in entries.take(AT_ONCE) {
                let is_first = last.is_none() && end.is_none();
                text += if is_first { "\n" } else { ",\n" };
                text += &line(key, value)?;
                end = Some(key.clone());
            }
        }
        if end.is_none() {
            return Ok(());
        }
        to.write_all(text.as_bytes())?;
        last = end;
    }
}

/// Replaces the file, and creates the directory when it is missing. Then removes files of version 1. Blocks.
///
/// # Errors
/// The directory cannot be created or written.
pub(super) fn save(state: &Path, shared: &Shared) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)?;
    // There is one writer; with a fixed name crashes leave no more than one file.
    let new = state.join(format!(".{NAME}.new"));
    let owner = fs::metadata(state)?;
    let written = write(&new, shared, &owner).and_then(|()| fs::rename(&new, state.join(NAME)));
    if written.is_err() {
        // Best effort; the error that matters is the first.
        let _ = fs::remove_file(&new);
    }
    written?;
    File::open(state)?.sync_all()?;
    for old in [DELIVERIES, REVOKED, GRANTS] {
        match fs::remove_file(state.join(old)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!("{old} of an earlier version cannot be removed: {error}");
            }
            _ => {}
        }
    }
    Ok(())
}

/// Writes a new file. It belongs to whoever the directory does: a command of root must not leave one that the service
/// cannot read.
fn write(path: &Path, shared: &Shared, owner: &fs::Metadata) -> io::Result<()> {
    // A leftover of a crash; a link is not followed.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (owner.uid(), owner.gid()) {
        // Only root may do that, and only root has to.
        let _ = fchown(&file, Some(owner.uid()), Some(owner.gid()));
    }
    write_lines(&file, shared)?;
    file.sync_all()
}

impl From<Whole> for Content {
    fn from(whole: Whole) -> Self {
        let deliveries = whole.deliveries.into_iter();
        let revoked = whole.revoked.into_iter();
        let logins = whole.logins.into_iter();
        Self {
            deliveries: deliveries.map(|line| (line.id, line.content)).collect(),
            revoked: revoked.map(|line| (line.id, line.content)).collect(),
            grants: whole.grants,
            logins: logins
                .map(|login| (login.token.accessor.clone(), login))
                .collect(),
        }
    }
}
