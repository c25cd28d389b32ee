//! Where to look, when and how closely: at the folders that changed, at once; at all each minute.
//!
//! The look each minute is the safety net under the events of the kernel. It glances at each folder
//! ([`Depth::Glance`]: one system call for one that is watched and has not changed, `daemon/looking.rs`
//! says what that finds), and goes through the files of a twentieth of them in turn.
//!
//! Pure: the time is passed in. The laws:
//! - After a start, a lost event, SIGHUP or a new configuration all folders are looked at in full.
//! - Of [`TURNS`] looks in a row that nothing but the time asked for, each folder is looked at in
//!   full by one, and of many folders each such look has its share.
//! - A folder that changed is looked at after [`SETTLE`], so that changes that belong together are
//!   seen together, before any folder of a full look.
//! - A full look goes through all folders in portions of [`PORTION`], so that it holds up nothing
//!   else, and a change is never waited for by a whole one.
//! - Looks take at most a fifth of the time, however often the directory changes.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::old::folders::Folders;
use crate::old::watch::Change;

/// Time between full looks when nothing asks for one.
pub const RESCAN: Duration = Duration::from_mins(1);

/// Of so many looks in a row that only the time asks for, each folder is looked at in full by one.
/// Half of the time for which the usual `CREDMON_OAUTH_TOKEN_MINIMUM` (40 minutes) covers a job.
pub const TURNS: u64 = 20;

/// Time from a change to the look.
pub const SETTLE: Duration = Duration::from_millis(3);

/// Folders that are looked at in one go: less than a millisecond.
pub const PORTION: usize = 16;

/// A look takes at most a fifth of the time.
const REST_AFTER_LOOK: u32 = 4;

/// How closely a folder is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Whether it is what it was, as far as one can trust in being told of all else.
    Glance,
    /// At each of its files.
    Full,
}

/// What to look at now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// These folders.
    Folders(Vec<(Arc<str>, Depth)>),
    /// The directory, for its folders: a full look begins.
    Everything,
}

/// What has to be looked at.
#[derive(Debug)]
pub struct Looks {
    changed: BTreeSet<Arc<str>>,
    changed_at: Instant,
    full_at: Instant,
    /// Whether the next look at everything leaves nothing out.
    in_full: bool,
    /// The number of the present look among those that only the time asked for; `None` for one
    /// that leaves nothing out.
    turn: Option<u64>,
    turns: u64,
    /// The folder that the present look at everything has come to, while there are more: it goes
    /// through them in the order of their names.
    at: Option<Arc<str>>,
    /// Folders and full looks rest by themselves: nobody waits long because of a full look.
    folders_not_before: Instant,
    full_not_before: Instant,
    began: Option<Instant>,
}

impl Looks {
    /// A full look is due at once.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            changed: BTreeSet::new(),
            changed_at: now,
            full_at: now,
            in_full: true,
            turn: None,
            turns: 0,
            at: None,
            folders_not_before: now,
            full_not_before: now,
            began: None,
        }
    }

    /// Something changed.
    pub fn note(&mut self, change: Change, now: Instant) {
        if change.everything {
            self.everything_soon(now);
        }
        for folder in change.folders {
            self.folder_soon(folder, now);
        }
    }

    /// A folder is to be looked at as soon as it is sensible.
    pub fn folder_soon(&mut self, folder: impl Into<Arc<str>>, now: Instant) {
        if self.changed.is_empty() {
            self.changed_at = (now + SETTLE).max(self.folders_not_before);
        }
        self.changed.insert(folder.into());
    }

    /// Everything is to be looked at in full as soon as it is sensible.
    pub fn everything_soon(&mut self, now: Instant) {
        self.in_full = true;
        let sensible = (now + SETTLE).max(self.full_not_before);
        self.full_at = self.full_at.min(sensible);
    }

    /// Everything is to be looked at in full now.
    pub fn everything_now(&mut self, now: Instant) {
        self.in_full = true;
        self.full_at = now;
    }

    /// What to look at now, if anything. `all` are the folders that there are.
    pub fn next(&mut self, now: Instant, all: &Folders) -> Option<Next> {
        if !self.changed.is_empty() && self.changed_at <= now {
            let folders = std::mem::take(&mut self.changed).into_iter();
            let folders = folders.map(|folder| (folder, Depth::Full));
            return Some(Next::Folders(folders.collect()));
        }
        if let Some(at) = self.at.take() {
            return Some(Next::Folders(self.portion(&at, all)));
        }
        if self.full_at <= now {
            self.full_at = now + RESCAN;
            self.began = Some(now);
            self.turn = if std::mem::take(&mut self.in_full) {
                None
            } else {
                self.turns = self.turns.wrapping_add(1);
                Some(self.turns)
            };
            return Some(Next::Everything);
        }
        None
    }

    /// The next folders of the look at everything.
    fn portion(&mut self, at: &str, all: &Folders) -> Vec<(Arc<str>, Depth)> {
        let depth = |folder: &str| match self.turn {
            Some(turn) if !is_turn_of(folder, turn) => Depth::Glance,
            _ => Depth::Full,
        };
        let mut rest = all.after(at);
        let some = rest.by_ref().take(PORTION);
        let some: Vec<_> = some
            .map(|folder| (Arc::clone(folder), depth(folder)))
            .collect();
        if rest.next().is_some() {
            self.at = some.last().map(|(folder, _)| Arc::clone(folder));
        }
        some
    }

    /// The folders of the look at everything that has begun.
    pub fn go_through(&mut self, all: &Folders) {
        self.at = all.after("").next().map(|_| Arc::default());
    }

    /// A look at some folders that began at `from` has ended.
    pub fn ended(&mut self, from: Instant, now: Instant) {
        self.folders_not_before = now + rest_after(from, now);
    }

    /// When a look at everything began that has just come to its end: told once.
    pub fn full_look_over(&mut self, now: Instant) -> Option<Instant> {
        if self.at.is_some() {
            return None;
        }
        let began = self.began.take()?;
        self.full_not_before = now + rest_after(began, now);
        Some(began)
    }

    /// Whether a look at everything is under way.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.began.is_some()
    }

    /// When there will be something to look at.
    #[must_use]
    pub fn at(&self, now: Instant) -> Instant {
        if self.at.is_some() {
            return now;
        }
        if self.changed.is_empty() {
            self.full_at
        } else {
            self.full_at.min(self.changed_at)
        }
    }
}

/// Whether a folder is looked at in full by the look of this number.
fn is_turn_of(folder: &str, turn: u64) -> bool {
    let mut hasher = DefaultHasher::new();
    folder.hash(&mut hasher);
    hasher.finish() % TURNS == turn % TURNS
}

fn rest_after(from: Instant, now: Instant) -> Duration {
    now.saturating_duration_since(from) * REST_AFTER_LOOK
}

#[cfg(test)]
mod tests;
