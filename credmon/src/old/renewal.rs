//! One renewal: read `.top`, ask Vault (for less, if it cannot give that much), put `.use` in place.
//!
//! The token in place is replaced only by one that ends later, unless `.top` is another than the
//! one it came from: then any living token is right, since scopes or identity may have changed. If
//! `.top` changes while Vault is asked, what came is thrown away. Nothing is ever deleted.

use std::sync::Arc;

use htvault::clock::Clock;
use htvault::{AccessTokenAnswer, AccessTokenRequest, ErrorKind};
use jiff::Timestamp;

use crate::old::complete_top::{self, CompleteTop, TopStamp};
use crate::old::directory::Directory;
use crate::old::folder::{FileId, Folder};
use crate::old::schedule::Life;
use crate::old::second::Second;
use crate::old::service_name::CredentialId;
use crate::old::source::{SourceError, TokenSource, VaultLife};
use crate::old::top_file::{Lane, TopFault};
use crate::old::use_file::{self, WriteFault};
use crate::old::used::{self, Used};

/// A renewal to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Of which credential.
    pub id: CredentialId,
    /// Whom it asks.
    pub lane: Arc<Lane>,
    /// The `.top` that the decision was made from.
    pub stamp: TopStamp,
    /// Seconds of life to ask for first.
    pub ask: i64,
    /// The token that must be outlived; `None` when any living token is right.
    pub outlive: Option<Life>,
    /// Whether the vault token's life is asked for, too.
    pub look_up: bool,
}

/// How a renewal ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What came of it.
    pub outcome: Outcome,
    /// The vault token's life, if it was asked for and told.
    pub vault_life: Option<VaultLife>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A new token is in place.
    Renewed {
        /// The token.
        used: Box<Used>,
        /// What kept Vault from giving as much life as was asked for.
        less: Option<Box<Less>>,
        /// The account's folder just before and just after.
        folder: Option<Box<OwnChange>>,
    },
    /// Vault has no newer token than the one in place.
    Kept,
    /// `.top` is another than the decision was made from.
    TopChanged,
    /// The folder or `.top` is gone.
    Vanished,
    /// `.top` cannot be used.
    BadTop(TopFault),
    /// The vault token is dead.
    Dead(String),
    /// Vault refused or did not answer.
    Refused(SourceError),
    /// The token could not be put in place.
    NotWritten(WriteFault),
}

/// What putting a token in place made of the account's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnChange {
    /// The folder just before.
    pub before: FileId,
    /// The folder just after.
    pub after: FileId,
}

/// Why a token has less life than was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Less {
    /// Seconds that were asked for first.
    pub asked: i64,
    /// What Vault answered to that.
    pub answer: SourceError,
}

impl Less {
    /// Whether that is how the issuer is: its tokens live less from the beginning.
    #[must_use]
    pub fn is_by_nature(&self, life: Option<Life>) -> bool {
        self.answer.kind == ErrorKind::NotLongEnough
            && life.is_some_and(|life| life.length() <= self.asked)
    }
}

/// Does a renewal. The vault token's life is asked for last, when the access token is in place.
pub async fn renew<S: TokenSource>(
    directory: Arc<Directory>,
    source: Arc<S>,
    clock: Arc<dyn Clock>,
    task: Task,
) -> Ended {
    let (folder, top) = match read(&directory, &task) {
        Ok(read) => read,
        Err(outcome) => {
            return Ended {
                outcome,
                vault_life: None,
            };
        }
    };
    let look_up = task.look_up;
    let place = (directory, folder);
    let outcome = access_token(place, source.as_ref(), clock.as_ref(), &top, task).await;
    let good = matches!(outcome, Outcome::Renewed { .. } | Outcome::Kept);
    let vault_life = if good && look_up {
        // A failure is no news: the next renewal asks again.
        let found = source.look_up(&top.url, &top.vault_token).await;
        found.ok().flatten()
    } else {
        None
    };
    Ended {
        outcome,
        vault_life,
    }
}

/// Gets a token, and puts it in place: in the folder that `.top` was read in, which stays open.
async fn access_token<S: TokenSource>(
    (directory, folder): (Arc<Directory>, Folder),
    source: &S,
    clock: &dyn Clock,
    top: &CompleteTop,
    task: Task,
) -> Outcome {
    let (answer, less) = match ask(source, clock, top, &task).await {
        Ok(got) => got,
        Err(outcome) => return outcome,
    };
    let now = clock.now();
    if is_no_gain(&answer, &task) {
        return Outcome::Kept;
    }
    // A disk may take its time, so another thread waits for it. In memory nothing is waited for, and
    // the other thread would cost more than the work.
    let is_disk = !directory.is_in_memory(&task.stamp);
    let put = move || put(&directory, &folder, &task, &answer, now);
    let written = if is_disk {
        tokio::task::spawn_blocking(put).await
    } else {
        Ok(put())
    };
    match written {
        Ok(Ok((used, folder))) => Outcome::Renewed {
            used: Box::new(used),
            less: less.map(Box::new),
            folder: folder.map(Box::new),
        },
        Ok(Err(outcome)) => outcome,
        // The runtime ends: nobody will read this.
        Err(_) => Outcome::TopChanged,
    }
}

/// Reads `.top`, and sees that it is the one that the decision was made from.
fn read(directory: &Directory, task: &Task) -> Result<(Folder, CompleteTop), Outcome> {
    let folder = directory
        .root()
        .folder(task.id.user())
        .map_err(|_| Outcome::Vanished)?;
    match complete_top::read_top(&folder, &task.id) {
        None => Err(Outcome::Vanished),
        Some((stamp, _)) if stamp != task.stamp => Err(Outcome::TopChanged),
        Some((_, Err(fault))) => Err(Outcome::BadTop(fault)),
        Some((_, Ok(top))) => Ok((folder, top)),
    }
}

/// Asks Vault, first for the life that is wanted, then for what is just worth having.
async fn ask<S: TokenSource>(
    source: &S,
    clock: &dyn Clock,
    top: &CompleteTop,
    task: &Task,
) -> Result<(AccessTokenAnswer, Option<Less>), Outcome> {
    let request = AccessTokenRequest {
        minimum_seconds: u64::try_from(task.ask).ok(),
        scopes: top.scopes.clone(),
        audience: top.audience.clone(),
    };
    let holds = task.outlive.map(|life| life.expires.timestamp());
    let best = htvault::best_access_token(
        &top.url,
        &request,
        holds,
        || clock.now(),
        |error: &SourceError| error.kind,
        async |request| {
            let token = &top.vault_token;
            source.access_token(&top.url, token, &request).await
        },
    );
    let error = match best.await {
        Ok(best) => {
            let less = best.less_because.map(|answer| Less {
                asked: task.ask,
                answer,
            });
            return Ok((best.answer, less));
        }
        Err(error) => error,
    };
    if error.kind != ErrorKind::TokenRejected {
        return Err(Outcome::Refused(error));
    }
    match source.look_up(&top.url, &top.vault_token).await {
        Ok(None) => Err(Outcome::Dead(format!(
            "{} refuses the vault token, and lookup-self says that it is dead",
            top.url
        ))),
        Ok(Some(_)) => Err(Outcome::Refused(SourceError {
            kind: ErrorKind::Forbidden,
            text: format!("{} (the vault token lives)", error.text),
            retry_after: None,
        })),
        Err(error) => Err(Outcome::Refused(error)),
    }
}

/// Whether the token that came is no gain. One that has ended by this host's clock is a gain, too:
/// the clock may be wrong, and jobs run on other hosts.
fn is_no_gain(answer: &AccessTokenAnswer, task: &Task) -> bool {
    match (answer.expires(), task.outlive) {
        (Some(expires), Some(present)) => Second::from(expires) <= present.expires,
        _ => false,
    }
}

/// Puts the token in place, if `.top` is still the same.
fn put(
    directory: &Directory,
    folder: &Folder,
    task: &Task,
    answer: &AccessTokenAnswer,
    now: Timestamp,
) -> Result<(Used, Option<OwnChange>), Outcome> {
    let stat = || folder.stat().ok().map(|stat| FileId::from(&stat));
    let before = stat();
    match directory.is_still(&task.id, &task.stamp) {
        None => return Err(Outcome::Vanished),
        Some(false) => return Err(Outcome::TopChanged),
        Some(true) => {}
    }
    let (group, sync) = (directory.group(), !directory.is_in_memory(&task.stamp));
    let file =
        use_file::write(folder, group, &task.id, &answer.token, sync).map_err(
            |fault| match fault {
                WriteFault::Vanished => Outcome::Vanished,
                refused @ WriteFault::Refused(_) => Outcome::NotWritten(refused),
            },
        )?;
    let change = before.zip(stat());
    let change = change.map(|(before, after)| OwnChange { before, after });
    let life = used::life(answer.claims.as_ref(), answer.expire_time, now);
    let used = Used::new(file, now.into(), life, answer.claims.as_ref());
    Ok((used, change))
}

#[cfg(test)]
mod tests;
