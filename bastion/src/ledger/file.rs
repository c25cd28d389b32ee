//! The ledger's file: `deliveries.json` in the state directory, JSON, mode 0600.
//!
//! What holds: a reader sees the old file or the new one, never half of one; a file that cannot be
//! read is set aside, so that its names are not lost to people, and the service goes on without.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{Ledger, Note};
use crate::delivery::DeliveryId;

/// The file's name in the state directory.
const NAME: &str = "deliveries.json";
/// What a line usually takes, in bytes.
const LINE: usize = 400;
/// Raised when the meaning of the content changes.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Content<L> {
    version: u32,
    deliveries: Vec<L>,
}

#[derive(Deserialize)]
struct Line {
    #[serde(flatten)]
    id: DeliveryId,
    #[serde(flatten)]
    note: Note,
}

/// The same to be written.
#[derive(Serialize)]
struct LineOf<'a> {
    #[serde(flatten)]
    id: &'a DeliveryId,
    #[serde(flatten)]
    note: &'a Note,
}

/// Reads the ledger in `state`. One that is missing is empty; one that is broken is too, is set
/// aside as `deliveries.json.broken`, and is warned of.
#[must_use]
pub fn load(state: &Path) -> Ledger {
    let path = state.join(NAME);
    match read(&path) {
        Ok(notes) => Ledger::new(notes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ledger::default(),
        Err(error) => {
            let aside = state.join(format!("{NAME}.broken"));
            let kept = fs::rename(&path, &aside).map_or_else(
                |error| format!("it could not be set aside: {error}"),
                |()| format!("it is kept as {}", aside.display()),
            );
            warn!(
                "{} cannot be used: {error}; {kept}; the lives of tokens at credds are estimated until each is \
                 replaced",
                path.display()
            );
            Ledger::default()
        }
    }
}

fn read(path: &Path) -> io::Result<BTreeMap<DeliveryId, Note>> {
    let text = fs::read(path)?;
    let content: Content<Line> = serde_json::from_slice(&text)?;
    if content.version != VERSION {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("its version is {}, not {VERSION}", content.version),
        ));
    }
    let lines = content.deliveries.into_iter();
    Ok(lines.map(|line| (line.id, line.note)).collect())
}

impl Ledger {
    /// The file's content.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let deliveries = self.notes();
        let deliveries = deliveries.map(|(id, note)| LineOf { id, note });
        let content = Content {
            version: VERSION,
            deliveries: deliveries.collect(),
        };
        let mut bytes = Vec::with_capacity(content.deliveries.len().saturating_mul(LINE));
        // Strings, times and lists of them always make JSON.
        match serde_json::to_writer(&mut bytes, &content) {
            Ok(()) => bytes,
            Err(_) => Vec::new(),
        }
    }
}

/// Puts `content` in place of the ledger in `state`, which is made when it is missing. Blocks.
///
/// # Errors
/// The directory cannot be made or written.
pub(crate) fn save(state: &Path, content: &[u8]) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)?;
    let (path, new) = (state.join(NAME), new_name(state));
    let written = write(&new, content).and_then(|()| fs::rename(&new, &path));
    if written.is_err() {
        // Best effort; the error that matters is the first.
        let _ = fs::remove_file(&new);
    }
    written?;
    File::open(state)?.sync_all()
}

/// One process writes here; a fixed name leaves nothing behind after many crashes.
fn new_name(state: &Path) -> PathBuf {
    state.join(format!(".{NAME}.new"))
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    // Whatever stands there is of a crash; a link is not followed.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}
