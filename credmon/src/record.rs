//! What is remembered of one credential: what was found of it, how it is doing, when it is due.
//!
//! What an outcome of a renewal makes of it is in the module below.

use jiff::Timestamp;

use crate::agenda::{Entry, Urgency};
use crate::directory::Seen;
use crate::renewal::Task;
use crate::rules::Rules;
use crate::schedule::{self, Held, Life, Spread};
use crate::service_name::CredentialId;
use crate::sharing::Words;
use crate::source::VaultLife;
use crate::state::{Condition, Note, Reason, STORE_AGAIN, State};
use crate::use_file::Used;

mod outcome;
mod view;

/// One credential.
#[derive(Clone, Debug)]
pub struct Record {
    seen: Seen,
    spread: Spread,
    /// Whether the token in place came from the present `.top`.
    served: bool,
    /// When the token in place was got, or found to be the newest.
    confirmed: Timestamp,
    failures: u32,
    retry_at: Option<Timestamp>,
    under_way: bool,
    /// Whether it was gone at the last look, though its renewal is under way.
    has_left: bool,
    condition: Condition,
    last_error: Option<Box<(Timestamp, String)>>,
    /// What is known of the vault token's end.
    vault_life: Option<VaultLife>,
    /// Whether the rules let it be served: then `None`.
    hindrance: Option<Hindrance>,
    due: Option<Timestamp>,
}

/// What keeps a credential from being served at all.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Hindrance {
    NotOurs(String),
    Fault(String),
}

impl Record {
    /// A credential seen for the first time.
    #[must_use]
    pub fn new(seen: Seen, rules: &Rules, now: Timestamp) -> (Self, Option<Note>) {
        // After a restart, the times of the files tell whether the token is from this `.top`.
        let served = seen
            .used
            .as_ref()
            .is_some_and(|used| seen.stamp.changed() <= used.file.changed);
        let confirmed = seen.used.as_ref().map_or(now, Used::written).min(now);
        let lives = |used: &Used| used.life.is_none_or(|life| life.left(now) > 0);
        let state = if served && seen.used.as_ref().is_some_and(lives) {
            State::Fresh
        } else {
            State::Renewing
        };
        let mut record = Self {
            spread: Spread::of(&rules.here, &seen.id),
            seen,
            served,
            confirmed,
            failures: 0,
            retry_at: None,
            under_way: false,
            has_left: false,
            condition: Condition::plain(state, now),
            last_error: None,
            vault_life: None,
            hindrance: None,
            due: None,
        };
        let note = record.judge(rules, now);
        (record, note)
    }

    /// Takes in what a later look found.
    pub fn update(&mut self, seen: Seen, rules: &Rules, now: Timestamp) -> Option<Note> {
        self.has_left = false;
        let top_changed = self.seen.stamp != seen.stamp || self.seen.top != seen.top;
        self.served &= self.seen.stamp == seen.stamp;
        let use_changed = self.seen.used != seen.used;
        let missing = seen.used.is_none();
        self.seen = seen;
        // The clock may have been set back: nothing lies in the future but plans.
        let clock_set_back = self.confirmed > now;
        self.confirmed = self.confirmed.min(now);
        if !(top_changed || use_changed || clock_set_back) {
            return None;
        }
        if top_changed {
            self.vault_life = None;
            self.failures = 0;
            self.retry_at = None;
            if self.condition.state != State::Ignored {
                self.condition = Condition::plain(State::Renewing, now);
            }
        } else if clock_set_back || (use_changed && missing) {
            // What was put off was put off by another clock. Without an access token jobs are
            // evicted: that is worth a request, whatever failed before.
            self.retry_at = None;
        }
        self.judge(rules, now)
    }

    /// Finds out whether the rules let it be served, and when it is due.
    pub fn judge(&mut self, rules: &Rules, now: Timestamp) -> Option<Note> {
        let hindrance = if let Err(not_ours) = rules.routing.check(self.seen.id.service()) {
            Some(Hindrance::NotOurs(not_ours.to_string()))
        } else {
            match &self.seen.top {
                Err(fault) => Some(Hindrance::Fault(fault.to_string())),
                Ok(lane) if !rules.trusts(&lane.host) => Some(Hindrance::Fault(format!(
                    "its vault_url's host {} is not in TRUSTED_VAULT_HOSTS",
                    lane.host
                ))),
                Ok(_) => None,
            }
        };
        let note = match &hindrance {
            Some(Hindrance::NotOurs(why)) => {
                let reason = Reason {
                    cause: why.clone(),
                    why: why.clone(),
                    advice: "",
                };
                self.become_(State::Ignored, reason, now)
            }
            Some(Hindrance::Fault(why)) => {
                let reason = Reason {
                    cause: why.clone(),
                    why: format!("its .top cannot be used: {why}"),
                    advice: STORE_AGAIN,
                };
                self.become_(State::Dead, reason, now)
            }
            None if self.hindrance.is_some() => {
                self.condition = Condition::plain(State::Renewing, now);
                None
            }
            None => None,
        };
        self.hindrance = hindrance;
        self.plan(rules);
        note
    }

    /// Computes when it is due.
    fn plan(&mut self, rules: &Rules) {
        self.due = if self.hindrance.is_some() {
            None
        } else if let Some(at) = self.retry_at {
            Some(at)
        } else {
            Some(match &self.seen.used {
                Some(used) if self.served => {
                    let held = Held {
                        life: used.life,
                        confirmed: self.confirmed,
                    };
                    schedule::next_renewal(rules.limits, self.spread, held)
                }
                _ => Timestamp::MIN,
            })
        };
    }

    /// Its place on the agenda; none while a renewal is under way or nothing can be done.
    #[must_use]
    pub fn entry(&self) -> Option<Entry> {
        let due = self.due.filter(|_| !self.under_way)?;
        let lane = self.seen.top.as_ref().ok()?.clone();
        Some(Entry {
            due,
            lane,
            urgency: self.urgency(),
        })
    }

    /// Keeps what it has in common with others once.
    pub fn share(&mut self, words: &mut Words) {
        self.seen.share(words);
    }

    /// What was found of it.
    #[must_use]
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// How it is doing.
    #[must_use]
    pub fn condition(&self) -> &Condition {
        &self.condition
    }

    /// Whether a renewal is under way.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// It is gone, but for its renewal.
    pub fn leave(&mut self) {
        self.has_left = true;
    }

    /// Whether it is gone, but for its renewal.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.has_left
    }

    fn id(&self) -> &CredentialId {
        &self.seen.id
    }

    fn life(&self) -> Option<Life> {
        self.seen.used.as_ref().and_then(|used| used.life)
    }

    /// What comes first: credentials that jobs or users wait for, in the order in which they came;
    /// then those whose token ends first.
    fn urgency(&self) -> Urgency {
        if self.seen.used.is_none() || !self.served {
            Urgency::WaitedFor(self.seen.stamp.changed().as_second())
        } else {
            Urgency::Ends(self.life().map_or(i64::MAX, |l| l.expires.as_second()))
        }
    }

    /// The renewal to do now; `None` when its `.top` tells not whom to ask.
    #[must_use]
    pub fn task(&self, rules: &Rules, now: Timestamp) -> Option<Task> {
        let lane = self.seen.top.as_ref().ok()?.clone();
        let outlive = self.life().filter(|_| self.served);
        Some(Task {
            id: self.seen.id.clone(),
            lane,
            stamp: self.seen.stamp,
            ask: schedule::seconds_to_ask(rules.limits, outlive, now),
            outlive,
            // Also when it should be over by what was known: then somebody renewed it.
            look_up: self.vault_life.is_none_or(|life| life.is_over(now)),
        })
    }

    /// The vault token's life was told.
    pub fn learn(&mut self, task: &Task, life: VaultLife) {
        if self.seen.stamp == task.stamp {
            self.vault_life = Some(life);
        }
    }

    /// A renewal starts.
    pub fn start(&mut self) {
        self.under_way = true;
    }

    /// Tries again now what waits after a failure.
    pub fn retry_now(&mut self, rules: &Rules) {
        if self.retry_at.take().is_some() {
            self.plan(rules);
        }
    }

    fn become_(&mut self, state: State, reason: Reason, now: Timestamp) -> Option<Note> {
        if matches!(state, State::Degraded | State::Dead) {
            self.last_error = Some(Box::new((now, reason.why.clone())));
        }
        if !self.condition.become_(state, reason, now) {
            return None;
        }
        let left = self.life().map_or(0, |life| life.left(now));
        let tail = match state {
            State::Degraded | State::Dead if left > 0 => {
                format!(" (the access token in place lives {left} s more)")
            }
            State::Degraded | State::Dead if self.seen.used.is_some() => {
                " (the access token in place is kept, though it has ended)".to_owned()
            }
            State::Degraded | State::Dead => " (no access token is in place)".to_owned(),
            _ => String::new(),
        };
        let (why, advice) = (self.condition.why(), self.condition.advice());
        let advice = if advice.is_empty() || why.ends_with(advice) {
            String::new()
        } else {
            format!("; {advice}")
        };
        let line = format!("{}: {state}: {why}{advice}{tail}", self.id());
        Some(match state {
            State::Dead => Note::Error(line),
            State::Degraded => Note::Warning(line),
            State::Fresh | State::Renewing | State::Ignored => Note::Info(line),
        })
    }
}
