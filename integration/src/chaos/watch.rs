//! What is seen from outside, twice a second: the files of the schedds, what the bastion says, and the true time.
//!
//! What always holds: nobody is believed; a delivery has a token when its file holds one that lives.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use htvault::clock::{Clock as _, SystemClock};
use htvault::{Claims, VaultToken};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::act::CARRIED;
use super::action::Target;
use super::audit::lives;
use super::layout::Layout;
use super::ledger::{Ledger, Seen, Token};
use super::stage::Stage;
use crate::wait;

/// How often it looks.
const PAUSE: Duration = Duration::from_millis(500);
/// What a token may lack of what is to be carried, when it is renewed at this moment.
const FRESH: Duration = Duration::from_secs(5);
/// How long the bastion may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// What the bastion says of a delivery; see its JSON schema.
#[derive(Clone, Debug, Deserialize)]
pub struct Line {
    account: String,
    service: String,
    schedd: String,
    /// Its state.
    pub state: String,
    problem: Option<Value>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self
            .problem
            .as_ref()
            .and_then(|problem| problem.pointer("/message"));
        let message = message.and_then(Value::as_str).unwrap_or_default();
        write!(f, "{} {message}", self.state)
    }
}

#[derive(Deserialize)]
struct Report {
    deliveries: Vec<Line>,
}

/// The watcher. It ends when dropped.
pub struct Watcher {
    ledger: Arc<Mutex<Ledger>>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Begins to look.
    pub fn start(stage: &Stage) -> Self {
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let shared = Arc::clone(&ledger);
        let (layout, socket, directories) = (stage.layout, stage.socket(), stage.directories());
        let task = tokio::spawn(async move {
            loop {
                let seen = look(layout, &socket, &directories).await;
                locked(&shared).take(&seen, SystemClock.now());
                wait::pass(PAUSE).await;
            }
        });
        Self { ledger, task }
    }

    /// What was seen so far.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        locked(&self.ledger)
    }
}

fn locked(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One look at everything.
pub async fn look(
    layout: Layout,
    socket: &Path,
    directories: &[PathBuf],
) -> BTreeMap<Target, Seen> {
    // Asked first, so that what is said is not newer than what is seen.
    let said = said(layout, socket).await.unwrap_or_default();
    let mut seen = BTreeMap::new();
    for target in layout.targets() {
        let Ok((account, service, _)) = layout.names(target) else {
            continue;
        };
        let Some(directory) = directories.get(target.schedd) else {
            continue;
        };
        let file = |ending: &str| directory.join(account).join(format!("{service}.{ending}"));
        seen.insert(
            target,
            Seen {
                vault_token: content(&file("top"), |text| {
                    let top: Value = serde_json::from_str(text).ok()?;
                    top.pointer("/vault_token")?
                        .as_str()
                        .map(|_| Timestamp::MAX)
                }),
                access_token: content(&file("use"), |text| Claims::read(text.trim_end())?.expires),
                said: said.get(&target).map(|line| line.state.clone()),
            },
        );
    }
    seen
}

/// What a file holds; `read` gives the end of a token that is whole.
fn content(file: &Path, read: impl Fn(&str) -> Option<Timestamp>) -> Token {
    match fs::read_to_string(file) {
        Ok(text) => read(&text).map_or(Token::Broken, Token::Until),
        Err(error) if error.kind() == ErrorKind::NotFound => Token::None,
        Err(_) => Token::Broken,
    }
}

/// What the bastion says of each delivery.
///
/// # Errors
/// It does not answer.
pub async fn said(layout: Layout, socket: &Path) -> anyhow::Result<BTreeMap<Target, Line>> {
    let ask = async {
        let mut stream = UnixStream::connect(socket).await?;
        let request = b"GET /status.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        anyhow::Ok(String::from_utf8(answer)?)
    };
    let answer = tokio::time::timeout(ANSWER, ask)
        .await
        .context("no answer in time")??;
    let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
    let report: Report = serde_json::from_str(body).context("no report")?;
    let lines = report.deliveries.into_iter();
    Ok(lines
        .filter_map(|line| {
            Some((
                layout.target(&line.account, &line.service, &line.schedd)?,
                line,
            ))
        })
        .collect())
}

/// Deliveries that were revoked, with the vault tokens that they had.
pub type Revoked = BTreeMap<Target, Option<VaultToken>>;

/// Every delivery is as it is to be: good, with tokens that live, or revoked.
///
/// # Errors
/// What is not.
pub async fn all_is_well(stage: &Stage, revoked: &Revoked) -> anyhow::Result<()> {
    let layout = stage.layout;
    let said = said(layout, &stage.socket()).await?;
    let now = SystemClock.now();
    for (target, seen) in look(layout, &stage.socket(), &stage.directories()).await {
        let line = said
            .get(&target)
            .with_context(|| format!("{target:?} is not in the report"))?;
        let has = stage.vault_token(target)?;
        if let Some(had) = revoked.get(&target) {
            ensure!(
                line.state == "cut_off",
                "{target:?} was revoked, and is {line}"
            );
            ensure!(
                has.is_none(),
                "{target:?} was revoked, and has a vault token"
            );
            if let Some(token) = had {
                ensure!(
                    !lives(stage, token).await?,
                    "the token of {target:?} was revoked, and lives"
                );
            }
        } else {
            ensure!(line.state == "good", "{target:?} is {line}");
            ensure!(
                seen.access_token.lives(now),
                "{target:?} has no access token"
            );
            let has = has.with_context(|| format!("{target:?} has no vault token"))?;
            ensure!(
                lives(stage, &has).await?,
                "the vault token of {target:?} is dead"
            );
        }
    }
    for directory in stage.directories() {
        let left = temporary_files(&directory);
        ensure!(left.is_empty(), "temporary files are left: {left:?}");
    }
    Ok(())
}

/// Every delivery that is not revoked has as much of its access token left as an outage may take.
///
/// # Errors
/// One that has less.
pub async fn all_can_wait(stage: &Stage, revoked: &Revoked) -> anyhow::Result<()> {
    let least = SystemClock.now() + CARRIED.saturating_sub(FRESH);
    for (target, seen) in look(stage.layout, &stage.socket(), &stage.directories()).await {
        let token = seen.access_token;
        let can_wait = revoked.contains_key(&target) || token.lives(least);
        ensure!(can_wait, "{target:?} has {token:?}");
    }
    Ok(())
}

/// Files with the names of what is being written, in the folders of a credential directory.
fn temporary_files(directory: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries(directory).map(|entry| entry.path());
    let files = folders.flat_map(|folder| {
        entries(&folder)
            .map(|entry| entry.path())
            .collect::<Vec<_>>()
    });
    files
        .filter(|file| file.extension().is_some_and(|ending| ending == "tmp"))
        .collect()
}
