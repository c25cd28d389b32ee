//! Where to look and when: at the folders that changed, at once; at all of them each minute.
//!
//! Pure: the time is passed in. The laws:
//! - A folder that changed is looked at after [`SETTLE`], so that changes that belong together are
//!   seen together, before any folder of a full look.
//! - A full look goes through all folders in portions of [`PORTION`], so that it holds up nothing
//!   else, and a change is never waited for by a whole one.
//! - Looks take at most a fifth of the time, however often the directory changes.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::watch::Change;

/// Time between full looks when nothing asks for one.
pub const RESCAN: Duration = Duration::from_mins(1);

/// Time from a change to the look.
pub const SETTLE: Duration = Duration::from_millis(3);

/// Folders that are looked at in one go.
pub const PORTION: usize = 64;

/// A look takes at most a fifth of the time.
const REST_AFTER_LOOK: u32 = 4;

/// What to look at now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// These folders.
    Folders(Vec<String>),
    /// The directory, for its folders: a full look begins.
    Everything,
}

/// What has to be looked at.
#[derive(Debug)]
pub struct Looks {
    changed: BTreeSet<String>,
    changed_at: Instant,
    full_at: Instant,
    /// Folders of a full look that are still to come.
    rest: Vec<String>,
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
            rest: Vec::new(),
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
    pub fn folder_soon(&mut self, folder: String, now: Instant) {
        if self.changed.is_empty() {
            self.changed_at = (now + SETTLE).max(self.folders_not_before);
        }
        self.changed.insert(folder);
    }

    /// Everything is to be looked at as soon as it is sensible.
    pub fn everything_soon(&mut self, now: Instant) {
        let sensible = (now + SETTLE).max(self.full_not_before);
        self.full_at = self.full_at.min(sensible);
    }

    /// Everything is to be looked at now.
    pub fn everything_now(&mut self, now: Instant) {
        self.full_at = now;
    }

    /// What to look at now, if anything.
    pub fn next(&mut self, now: Instant) -> Option<Next> {
        if !self.changed.is_empty() && self.changed_at <= now {
            let folders = std::mem::take(&mut self.changed);
            return Some(Next::Folders(folders.into_iter().collect()));
        }
        if !self.rest.is_empty() {
            let from = self.rest.len().saturating_sub(PORTION);
            return Some(Next::Folders(self.rest.split_off(from)));
        }
        if self.full_at <= now {
            self.full_at = now + RESCAN;
            self.began = Some(now);
            return Some(Next::Everything);
        }
        None
    }

    /// The folders of the full look that has begun.
    pub fn go_through(&mut self, folders: Vec<String>) {
        self.rest = folders;
    }

    /// A look at some folders that began at `from` has ended.
    pub fn ended(&mut self, from: Instant, now: Instant) {
        self.folders_not_before = now + rest_after(from, now);
    }

    /// When a full look began that has just come to its end: told once.
    pub fn full_look_over(&mut self, now: Instant) -> Option<Instant> {
        if !self.rest.is_empty() {
            return None;
        }
        let began = self.began.take()?;
        self.full_not_before = now + rest_after(began, now);
        Some(began)
    }

    /// Whether a full look is under way.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.began.is_some()
    }

    /// When there will be something to look at.
    #[must_use]
    pub fn at(&self, now: Instant) -> Instant {
        if !self.rest.is_empty() {
            return now;
        }
        if self.changed.is_empty() {
            self.full_at
        } else {
            self.full_at.min(self.changed_at)
        }
    }
}

fn rest_after(from: Instant, now: Instant) -> Duration {
    now.saturating_duration_since(from) * REST_AFTER_LOOK
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn folders(names: &[&str]) -> Next {
        Next::Folders(names.iter().map(|&n| n.to_owned()).collect())
    }

    fn settled(now: Instant) -> Looks {
        let mut looks = Looks::new(now);
        assert_eq!(looks.next(now), Some(Next::Everything));
        looks.go_through(Vec::new());
        assert_eq!(looks.full_look_over(now), Some(now));
        assert_eq!(looks.full_look_over(now), None);
        looks
    }

    #[test]
    fn only_what_changed_is_looked_at_once_it_settled() {
        let now = Instant::now();
        let mut looks = settled(now);
        looks.folder_soon("b".to_owned(), now);
        looks.folder_soon("a".to_owned(), now + MS);
        assert_eq!(looks.at(now), now + SETTLE);
        assert_eq!(looks.next(now + MS), None);
        assert_eq!(looks.next(now + SETTLE), Some(folders(&["a", "b"])));
        assert_eq!(looks.next(now + SETTLE), None);
        assert_eq!(looks.at(now), now + RESCAN);
        assert_eq!(looks.next(now + RESCAN), Some(Next::Everything));
    }

    #[test]
    fn a_change_goes_before_the_rest_of_a_full_look() {
        let now = Instant::now();
        let mut looks = Looks::new(now);
        assert_eq!(looks.next(now), Some(Next::Everything));
        looks.go_through((0..=PORTION).map(|n| n.to_string()).collect());
        assert!(matches!(looks.next(now), Some(Next::Folders(f)) if f.len() == PORTION));
        assert!(looks.is_under_way() && looks.full_look_over(now).is_none());
        looks.folder_soon("a".to_owned(), now);
        let now = now + SETTLE;
        assert_eq!(looks.at(now), now);
        assert_eq!(looks.next(now), Some(folders(&["a"])));
        assert_eq!(looks.next(now), Some(folders(&["0"])));
        assert!(looks.full_look_over(now).is_some() && !looks.is_under_way());
    }

    #[test]
    fn looks_rest_four_times_as_long_as_they_took() {
        let now = Instant::now();
        let mut looks = settled(now);
        looks.ended(now, now + 10 * MS);
        looks.folder_soon("a".to_owned(), now + 10 * MS);
        assert_eq!(looks.at(now), now + 50 * MS);
        assert_eq!(looks.next(now + 49 * MS), None);
        assert_eq!(looks.next(now + 50 * MS), Some(folders(&["a"])));

        looks.everything_now(now);
        assert_eq!(looks.next(now), Some(Next::Everything));
        looks.full_look_over(now + 10 * MS);
        looks.everything_soon(now + 10 * MS);
        assert_eq!(looks.at(now), now + 50 * MS);
        looks.everything_now(now + 20 * MS);
        assert_eq!(looks.next(now + 20 * MS), Some(Next::Everything));
    }

    #[test]
    fn whatever_is_unclear_means_everything() {
        let now = Instant::now();
        let mut looks = settled(now);
        looks.note(
            Change {
                everything: true,
                ..Change::default()
            },
            now,
        );
        assert_eq!(looks.at(now), now + SETTLE);
    }
}
