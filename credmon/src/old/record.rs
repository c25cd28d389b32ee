//! What is remembered of one credential: what was found of it, how it is doing, when it is due.
//!
//! What an outcome of a renewal makes of it is in the module below.

use std::sync::Arc;

use jiff::Timestamp;

use crate::old::agenda::Urgency;
use crate::old::directory::Seen;
use crate::old::renewal::Task;
use crate::old::rules::Rules;
use crate::old::schedule::{self, Held, Life, Spread};
use crate::old::second::Second;
use crate::old::service_name::CredentialId;
use crate::old::sharing::Shared;
use crate::old::source::VaultLife;
use crate::old::state::{Condition, Note, Reason, STORE_AGAIN, State};
use crate::old::table::{Name, Named};
use crate::old::top_file::Lane;
use crate::old::used::{Grant, Used};

mod outcome;
mod view;

/// One credential. There are thousands: what few have is in a box of its own, and times are kept
/// in eight bytes.
#[derive(Clone, Debug)]
pub struct Record {
    seen: Seen,
    spread: Spread,
    /// Whether the token in place came from the present `.top`.
    served: bool,
    /// When the token in place was got, or found to be the newest.
    confirmed: Second,
    failures: u32,
    retry_at: Option<Second>,
    renewal: Renewal,
    condition: Condition,
    last_error: Option<Box<(Second, String)>>,
    /// What is known of the vault token's end.
    vault_life: Option<VaultLife>,
    /// Whether the rules or its `.top` keep it from being served at all.
    is_hindered: bool,
    due: Option<Second>,
}

/// Whether a renewal is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Renewal {
    None,
    UnderWay,
    /// It is, but the credential was gone at the last look.
    OfOneGone,
}

/// What credentials have in common, kept once.
#[derive(Debug, Default)]
pub struct InCommon {
    services: Shared<str>,
    lanes: Shared<Lane>,
    grants: Shared<Grant>,
}

impl InCommon {
    /// Forgets what no credential has any more.
    pub fn forget_unused(&mut self) {
        self.services.forget_unused();
        self.lanes.forget_unused();
        self.grants.forget_unused();
    }
}

impl Named for Record {
    fn name(&self) -> Name<'_> {
        (self.id().user(), self.id().service())
    }
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
        let confirmed = seen.used.as_ref().map_or(now.into(), |used| used.written);
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
            confirmed: confirmed.min(now.into()),
            failures: 0,
            retry_at: None,
            renewal: Renewal::None,
            condition: Condition::plain(state, now),
            last_error: None,
            vault_life: None,
            is_hindered: false,
            due: None,
        };
        let note = record.judge(rules, now);
        (record, note)
    }

    /// Takes in what a later look found.
    pub fn update(&mut self, seen: Seen, rules: &Rules, now: Timestamp) -> Option<Note> {
        if self.renewal == Renewal::OfOneGone {
            self.renewal = Renewal::UnderWay;
        }
        let top_changed = self.seen.stamp != seen.stamp || self.seen.top != seen.top;
        self.served &= self.seen.stamp == seen.stamp;
        let use_changed = self.seen.used != seen.used;
        let missing = seen.used.is_none();
        self.seen = seen;
        // The clock may have been set back: nothing lies in the future but plans.
        let clock_set_back = self.confirmed > now.into();
        self.confirmed = self.confirmed.min(now.into());
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
        let hindrance = self.hindrance(rules);
        let was_hindered = std::mem::replace(&mut self.is_hindered, hindrance.is_some());
        if was_hindered && hindrance.is_none() {
            self.condition = Condition::plain(State::Renewing, now);
        }
        let note = hindrance.and_then(|(state, reason)| self.become_(state, reason, now));
        self.plan(rules);
        note
    }

    /// What keeps it from being served at all.
    fn hindrance(&self, rules: &Rules) -> Option<(State, Reason)> {
        if let Err(not_ours) = rules.routing.check(self.seen.id.service()) {
            let why = not_ours.to_string();
            let reason = Reason {
                cause: why.clone(),
                why,
                advice: "",
            };
            return Some((State::Ignored, reason));
        }
        let cause = match &self.seen.top {
            Err(fault) => fault.to_string(),
            Ok(lane) if !rules.trusts(&lane.host) => format!(
                "its vault_url's host {} is not in TRUSTED_VAULT_HOSTS",
                lane.host
            ),
            Ok(_) => return None,
        };
        let reason = Reason {
            why: format!("its .top cannot be used: {cause}"),
            cause,
            advice: STORE_AGAIN,
        };
        Some((State::Dead, reason))
    }

    /// Computes when it is due.
    fn plan(&mut self, rules: &Rules) {
        self.due = if self.is_hindered {
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
                _ => Second::earliest(),
            })
        };
    }

    /// When it is due; not while a renewal is under way or nothing can be done.
    #[must_use]
    pub fn due(&self) -> Option<Second> {
        self.due.filter(|_| !self.is_under_way())
    }

    /// Whom it asks, and how urgent that is; `None` when its `.top` tells not whom to ask.
    #[must_use]
    pub fn order(&self) -> Option<(Arc<Lane>, Urgency)> {
        let lane = self.seen.top.as_ref().ok()?;
        Some((Arc::clone(lane), self.urgency()))
    }

    /// Keeps what it has in common with others once. `user` is its account's name.
    pub fn share(&mut self, user: &Arc<str>, with: &mut InCommon) {
        self.seen.id.share(user, &mut with.services);
        if let Ok(lane) = &mut self.seen.top {
            with.lanes.share(lane);
        }
        self.share_grant(with);
    }

    /// Keeps what its token has in common with others once.
    pub fn share_grant(&mut self, with: &mut InCommon) {
        if let Some(used) = &mut self.seen.used {
            with.grants.share(&mut used.grant);
        }
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
        self.renewal != Renewal::None
    }

    /// It is gone, but for its renewal.
    pub fn leave(&mut self) {
        self.renewal = Renewal::OfOneGone;
    }

    /// Whether it is gone, but for its renewal.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.renewal == Renewal::OfOneGone
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
            Urgency::WaitedFor(Second::new(self.seen.stamp.changed().as_second()))
        } else {
            Urgency::Ends(self.life().map_or(Second::latest(), |l| l.expires))
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
            stamp: self.seen.stamp.clone(),
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
        self.renewal = Renewal::UnderWay;
    }

    /// Tries again now what waits after a failure.
    pub fn retry_now(&mut self, rules: &Rules) {
        if self.retry_at.take().is_some() {
            self.plan(rules);
        }
    }

    fn become_(&mut self, state: State, reason: Reason, now: Timestamp) -> Option<Note> {
        if matches!(state, State::Degraded | State::Dead) {
            self.last_error = Some(Box::new((now.into(), reason.why.clone())));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_takes_few_bytes() {
        // Ten thousand are kept in a few megabytes.
        assert!(size_of::<Record>() <= 248);
    }
}
