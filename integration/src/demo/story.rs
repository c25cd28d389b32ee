//! What happened between two looks, and what has been seen altogether.
//!
//! Pure: two snapshots and the time go in, events come out. An access token that has run out
//! before a new one came is a gap, and makes the demonstration fail.

use std::collections::BTreeMap;
use std::fmt;

use htvault::Claims;
use jiff::Timestamp;

use super::observe::{Key, Snapshot, VaultLife};

/// Something that a person would want to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The bastion stored a vault token, the first or a new one.
    VaultToken {
        /// Account and service.
        key: Key,
        /// Life of the new token, in seconds.
        lives: i64,
        /// Life that the former one had left, in seconds.
        left: Option<i64>,
        /// The new token's accessor.
        accessor: String,
    },
    /// The credmon wrote an access token, the first or a new one.
    AccessToken {
        /// Account and service.
        key: Key,
        /// Life of the new token, in seconds.
        lives: i64,
        /// Life that the former one had left, in seconds.
        left: Option<i64>,
        /// The new token's `jti`.
        id: String,
        /// How many scopes it has.
        scopes: usize,
    },
    /// An access token ran out, or was taken away, before a new one came.
    Gap {
        /// Account and service.
        key: Key,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VaultToken {
                key: (account, service),
                lives,
                left,
                accessor,
            } => {
                write!(f, "bastion  {account:<8} {service:<15} ")?;
                match left {
                    None => write!(f, "stored a vault token that lives {}", short(*lives))?,
                    Some(left) => write!(
                        f,
                        "replaced the vault token with {} left by one that lives {}",
                        short(*left),
                        short(*lives)
                    )?,
                }
                write!(f, "  (accessor {})", head(accessor))
            }
            Self::AccessToken {
                key: (account, service),
                lives,
                left,
                id,
                scopes,
            } => {
                write!(f, "credmon  {account:<8} {service:<15} ")?;
                match left {
                    None => write!(
                        f,
                        "wrote an access token that lives {}, {scopes} scopes",
                        short(*lives)
                    )?,
                    Some(left) => write!(
                        f,
                        "renewed the access token with {} left: {} again",
                        short(*left),
                        short(*lives)
                    )?,
                }
                write!(f, "  (jti {})", head(id))
            }
            Self::Gap {
                key: (account, service),
            } => write!(
                f,
                "GAP      {account:<8} {service:<15} a job would have no valid access token now"
            ),
        }
    }
}

/// The first characters of an identifier: enough to follow it by eye.
fn head(id: &str) -> String {
    id.chars().take(8).chain(std::iter::once('…')).collect()
}

/// Seconds as a person says them: `45 s`, `2 min 5 s`, `3 h`, `6 d 23 h`.
#[must_use]
pub fn short(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let pair = |big: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{big} {unit}")
        } else {
            format!("{big} {unit} {small} {small_unit}")
        }
    };
    if days > 0 {
        pair(days, "d", hours % 24, "h")
    } else if hours > 0 {
        pair(hours, "h", minutes % 60, "min")
    } else if minutes > 0 {
        pair(minutes, "min", seconds % 60, "s")
    } else {
        format!("{seconds} s")
    }
}

/// What has been seen of one delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// How often a vault token was replaced by a newer one.
    pub vault_renewals: usize,
    /// How often an access token was replaced by a newer one.
    pub access_renewals: usize,
    /// How often there was no valid access token after there had been one.
    pub gaps: usize,
}

/// The story so far.
#[derive(Debug, Default)]
pub struct Story {
    before: Snapshot,
    in_gap: BTreeMap<Key, bool>,
    /// What has been seen of each delivery.
    pub seen: BTreeMap<Key, Seen>,
}

impl Story {
    /// Takes in what is there at `now`; gives what has happened since the last time.
    pub fn tell(&mut self, snapshot: &Snapshot, now: Timestamp) -> Vec<Event> {
        let mut events = Vec::new();
        for (key, stored) in snapshot {
            let before = self.before.get(key).cloned().unwrap_or_default();
            let seen = self.seen.entry(key.clone()).or_default();
            if let Some(vault) = &stored.vault
                && before.vault.as_ref().map(|v| &v.accessor) != Some(&vault.accessor)
            {
                seen.vault_renewals += usize::from(before.vault.is_some());
                events.push(Event::VaultToken {
                    key: key.clone(),
                    lives: vault.whole,
                    left: before.vault.map(|v| left(&v, now)),
                    accessor: vault.accessor.clone(),
                });
            }
            if let Some(access) = &stored.access
                && before.access.as_ref() != Some(access)
            {
                seen.access_renewals += usize::from(before.access.is_some());
                events.push(Event::AccessToken {
                    key: key.clone(),
                    lives: access_left(access, now),
                    left: before.access.as_ref().map(|a| access_left(a, now)),
                    id: access.id.clone().unwrap_or_else(|| "none".to_owned()),
                    scopes: access.scopes.len(),
                });
            }
            let valid = stored
                .access
                .as_ref()
                .is_some_and(|a| access_left(a, now) > 0);
            let was = self.in_gap.insert(key.clone(), !valid);
            if !valid && was == Some(false) {
                seen.gaps += 1;
                events.push(Event::Gap { key: key.clone() });
            }
        }
        // A credential that is gone altogether is a gap too; `.top` alone may come and go by rename.
        for key in self
            .before
            .keys()
            .filter(|key| !snapshot.contains_key(*key))
        {
            self.seen.entry(key.clone()).or_default().gaps += 1;
            events.push(Event::Gap { key: key.clone() });
        }
        // A lookup that failed must not make the next one look like a new token.
        let mut next = snapshot.clone();
        for (key, stored) in &mut next {
            if stored.vault.is_none() {
                stored.vault = self.before.get(key).and_then(|b| b.vault.clone());
            }
        }
        self.before = next;
        events
    }
}

/// Seconds that a vault token has left.
#[must_use]
pub fn left(vault: &VaultLife, now: Timestamp) -> i64 {
    seconds_until(vault.ends, now)
}

/// Seconds that an access token has left.
#[must_use]
pub fn access_left(access: &Claims, now: Timestamp) -> i64 {
    access
        .expires
        .map_or(0, |expires| seconds_until(expires, now))
}

/// Whole seconds up to `end`, rounded up: 0 only when it is over.
#[must_use]
pub fn seconds_until(end: Timestamp, now: Timestamp) -> i64 {
    let left = end.duration_since(now);
    (left.as_secs() + i64::from(left.subsec_nanos() > 0)).max(0)
}

#[cfg(test)]
mod tests {
    use super::super::observe::Stored;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn snapshot(accessor: &str, id: &str, expires: i64) -> Snapshot {
        let stored = Stored {
            vault: Some(VaultLife {
                accessor: accessor.to_owned(),
                whole: 180,
                ends: at(180),
            }),
            access: Some(Claims {
                id: Some(id.to_owned()),
                expires: Some(at(expires)),
                ..Claims::default()
            }),
        };
        Snapshot::from([(("crabtw".to_owned(), "cms_crab".to_owned()), stored)])
    }

    #[test]
    fn first_tokens_and_renewals_are_told_once() {
        let mut story = Story::default();
        let events = story.tell(&snapshot("a", "1", 60), at(0));
        assert_eq!(events.len(), 2, "{events:?}");
        assert_eq!(story.tell(&snapshot("a", "1", 60), at(5)), []);
        let events = story.tell(&snapshot("a", "2", 80), at(20));
        assert_eq!(
            events.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["credmon  crabtw   cms_crab        \
              renewed the access token with 40 s left: 1 min again  (jti 2…)"]
        );
        let seen = story.seen.values().next().unwrap();
        assert_eq!(
            (seen.access_renewals, seen.vault_renewals, seen.gaps),
            (1, 0, 0)
        );
    }

    #[test]
    fn a_token_that_runs_out_is_one_gap() {
        let mut story = Story::default();
        story.tell(&snapshot("a", "1", 60), at(0));
        assert!(matches!(
            story.tell(&snapshot("a", "1", 60), at(61)).as_slice(),
            [Event::Gap { .. }]
        ));
        assert_eq!(story.tell(&snapshot("a", "1", 60), at(62)), []);
        story.tell(&snapshot("a", "2", 200), at(63));
        assert_eq!(story.seen.values().next().unwrap().gaps, 1);
    }

    #[test]
    fn a_credential_that_vanishes_is_a_gap() {
        let mut story = Story::default();
        story.tell(&snapshot("a", "1", 60), at(0));
        assert!(matches!(
            story.tell(&Snapshot::new(), at(1)).as_slice(),
            [Event::Gap { .. }]
        ));
    }

    #[test]
    fn lives_are_said_as_people_say_them() {
        for (seconds, said) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (125, "2 min 5 s"),
            (3_600, "1 h"),
            (604_799, "6 d 23 h"),
        ] {
            assert_eq!(short(seconds), said);
        }
    }
}
