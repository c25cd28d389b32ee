//! The file of the state: JSON that a person can read, mode 0600, replaced as a whole.

use std::borrow::Cow;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nix::libc;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::content::Content;
use crate::model::delivery::DeliveryId;
use crate::model::grants::Grants;
use crate::model::records::{LoginRecord, TokenRecords};

const NAME: &str = "state.json";
/// Format version: increased when the meaning of a field changes.
const VERSION: u32 = 2;
/// Longest file that is read, in bytes: some 100,000 deliveries.
const LIMIT: u64 = 64 * 1024 * 1024;

/// Files of version 1, which had one for each concern.
const DELIVERIES: &str = "deliveries.json";
const REVOKED: &str = "cut-off.json";
const GRANTS: &str = "grants.json";

#[derive(Serialize, Deserialize)]
struct Whole<'a> {
    version: u32,
    deliveries: Vec<Delivery<'a>>,
    #[serde(default)]
    revoked: Vec<Revoked<'a>>,
    #[serde(default)]
    grants: Cow<'a, Grants>,
    #[serde(default)]
    logins: Vec<Cow<'a, LoginRecord>>,
}

#[derive(Serialize, Deserialize)]
struct Delivery<'a> {
    #[serde(flatten)]
    id: Cow<'a, DeliveryId>,
    #[serde(flatten)]
    records: Cow<'a, TokenRecords>,
}

#[derive(Serialize, Deserialize)]
struct Revoked<'a> {
    #[serde(flatten)]
    id: Cow<'a, DeliveryId>,
    since: Timestamp,
}

/// Deliveries in version 1.
#[derive(Deserialize)]
struct Deliveries {
    version: u32,
    deliveries: Vec<Delivery<'static>>,
}

/// Reads the state; `true` when it came from files of version 1. A file that cannot be read is renamed, so that people
/// can still find its accessors, and a warning is logged.
pub(super) fn load(state: &Path) -> (Content, bool) {
    if let Some(whole) = read::<Whole<'_>>(&state.join(NAME), |whole| whole.version == VERSION) {
        return (whole.into(), false);
    }
    let deliveries = read(&state.join(DELIVERIES), |old: &Deliveries| old.version == 1);
    let revoked = read(&state.join(REVOKED), |_: &Vec<Revoked<'_>>| true);
    let grants = read(&state.join(GRANTS), |_: &Grants| true);
    let is_carried = deliveries.is_some() || revoked.is_some() || grants.is_some();
    if is_carried {
        info!("state of an earlier version converted to {NAME}");
    }
    let whole = Whole {
        version: VERSION,
        deliveries: deliveries.map(|old| old.deliveries).unwrap_or_default(),
        revoked: revoked.unwrap_or_default(),
        grants: Cow::Owned(grants.unwrap_or_default()),
        logins: Vec::new(),
    };
    (whole.into(), is_carried)
}

/// Reads a file; `None` when it is missing or cannot be used.
fn read<T: DeserializeOwned>(path: &Path, is_known: impl FnOnce(&T) -> bool) -> Option<T> {
    let words = match parse(path) {
        Ok(content) if is_known(&content) => return Some(content),
        Ok(_) => "it was written by another version".to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => error.to_string(),
    };
    let mut broken = path.as_os_str().to_owned();
    broken.push(".broken");
    let broken = PathBuf::from(broken);
    let renamed = fs::rename(path, &broken).map_or_else(
        |error| format!("it could not be renamed: {error}"),
        |()| format!("it is now {}", broken.display()),
    );
    warn!(
        "{} cannot be used: {words}; {renamed}; the lifetimes of tokens at credds are estimated until each is replaced",
        path.display()
    );
    None
}

fn parse<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    let mut options = OpenOptions::new();
    // Non-blocking, in case the file is a FIFO.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOFOLLOW;
    let file = options.read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > LIMIT {
        return Err(io::Error::other("it is no plain file of usual size"));
    }
    let text = io::read_to_string(file)?;
    // Not the library's message, which quotes the content.
    serde_json::from_str(&text).map_err(|fault| {
        let (line, column) = (fault.line(), fault.column());
        io::Error::other(format!(
            "its content is not understood at line {line}, column {column}"
        ))
    })
}

/// Returns the file's text.
pub(super) fn text(content: &Content) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec_pretty(&Whole::from(content))?)
}

/// Replaces the file, and creates the directory when it is missing. Then removes files of version 1. Blocks.
///
/// # Errors
/// The directory cannot be created or written.
pub(super) fn save(state: &Path, text: &[u8]) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)?;
    // There is one writer; with a fixed name crashes leave no more than one file.
    let new = state.join(format!(".{NAME}.new"));
    let written = write(&new, text).and_then(|()| fs::rename(&new, state.join(NAME)));
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

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    // A leftover of a crash; a link is not followed.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text)?;
    file.write_all(b"\n")?;
    file.sync_all()
}

impl From<Whole<'_>> for Content {
    fn from(whole: Whole<'_>) -> Self {
        let deliveries = whole.deliveries.into_iter();
        let revoked = whole.revoked.into_iter();
        let logins = whole.logins.into_iter();
        Self {
            deliveries: deliveries
                .map(|line| (line.id.into_owned(), line.records.into_owned()))
                .collect(),
            revoked: revoked
                .map(|line| (line.id.into_owned(), line.since))
                .collect(),
            grants: whole.grants.into_owned(),
            logins: logins
                .map(|login| (login.token.accessor.clone(), login.into_owned()))
                .collect(),
        }
    }
}

impl<'a> From<&'a Content> for Whole<'a> {
    fn from(content: &'a Content) -> Self {
        let deliveries = content.deliveries.iter();
        let deliveries = deliveries.map(|(id, records)| Delivery {
            id: Cow::Borrowed(id),
            records: Cow::Borrowed(records),
        });
        let revoked = content.revoked.iter();
        let revoked = revoked.map(|(id, since)| Revoked {
            id: Cow::Borrowed(id),
            since: *since,
        });
        Self {
            version: VERSION,
            deliveries: deliveries.collect(),
            revoked: revoked.collect(),
            grants: Cow::Borrowed(&content.grants),
            logins: content.logins.values().map(Cow::Borrowed).collect(),
        }
    }
}
