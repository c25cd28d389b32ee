//! One credential: what was observed of it, its state, and when it is due.
//!
//! A failure never takes a token away; it only decides how long the next attempt waits, and what is
//! reported (`outcome`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use htvault::FailureScope;
use jiff::Timestamp;

use super::condition::Condition;
use super::in_place::InPlace;
use super::timing::{self, Jitter, SecondsToAsk};
use crate::model::{
    Cause, Event, InUse, Limits, Now, Observed, ObservedTop, Outcome, Reason, RenewalTask, Route,
    Rules, SEE_TO_FILES, STORE_AGAIN, State, Target, TaskKind, TopProblem, VaultLife,
};

/// A token found at the start that lives longer than so many seconds, or for a time that it does not say, is
/// confirmed soon: if it is a foreign one, it would stay for long.
const LONG_LIVED: i64 = 86_400;

/// Span in which such tokens are confirmed, in seconds.
const LONG_LIVED_SPREAD: i64 = 40;

/// One credential.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) top: Arc<ObservedTop>,
    pub(super) jitter: Jitter,
    pub(super) in_place: InPlace,
    pub(super) condition: Condition,
    /// A request with the present `.top` has succeeded.
    pub(super) proven: bool,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Tasks in a row that found another file than they were decided from.
    pub(super) changes: u32,
    pub(super) retry_at: Option<Instant>,
    /// Charge of the last failure.
    pub(super) waits_for: Option<FailureScope>,
    pub(super) vault_life: Option<VaultLife>,
    /// Its vault token seemed dead when its expiry was looked up: perhaps it has no right to that.
    pub(super) looked_dead: bool,
    /// The rules or its `.top` keep it from being served at all.
    hindered: bool,
    /// Next renewal.
    pub(super) due: Option<Instant>,
    /// Next look-up of the vault token's expiry.
    pub(super) look_up_at: Option<Instant>,
}

/// Order among what is due; smaller goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// Jobs or users wait for it since that change of its `.top` (nanoseconds since 1970).
    WaitedFor(i64),
    /// Its token expires then.
    Expires(Timestamp),
}

impl Record {
    /// A credential that is seen for the first time; `at_start`: in the first scan.
    pub(super) fn new(observed: Observed, rules: &Rules, now: Now, at_start: bool) -> Self {
        let is_served = observed.is_served();
        let Observed { top, in_use } = observed;
        let jitter = Jitter::of(&rules.hostname, top.id.user(), top.id.service());
        let in_place = InPlace::new(in_use, is_served, now);
        let state = in_place.state(now);
        let is_fresh = state == State::Fresh;
        let is_long_lived = is_fresh && in_place.left(now).is_none_or(|left| left > LONG_LIVED);
        let soon = || now.after(jitter.part(LONG_LIVED_SPREAD));
        Self {
            condition: Condition::new(state, now),
            // A token that lives came from Vault by this `.top`.
            proven: is_fresh && in_place.left(now).is_some(),
            failures: 0,
            changes: 0,
            retry_at: (at_start && is_long_lived).then(soon),
            waits_for: None,
            vault_life: None,
            looked_dead: false,
            hindered: false,
            due: None,
            look_up_at: None,
            jitter,
            in_place,
            top,
        }
    }

    /// Takes in what a later scan found.
    pub(super) fn update(&mut self, observed: Observed, rules: &Rules, now: Now) -> Option<Event> {
        let is_served = observed.is_served();
        let Observed { top, in_use } = observed;
        let is_unreadable = |top: &ObservedTop| matches!(top.route, Err(TopProblem::Unreadable(_)));
        if is_unreadable(&top) && self.top.route.is_ok() {
            // A passing error: the renewal reads `.top` itself.
            return None;
        }
        let before = std::mem::replace(&mut self.top, top);
        // What could not be read may have been another one.
        let top_changed = if is_unreadable(&before) {
            !is_unreadable(&self.top) && self.in_place.served && !is_served
        } else {
            before != self.top
        };
        if self.in_place.file() != in_use.as_ref().map(InUse::file) {
            self.in_place.receive(in_use, now);
            // Somebody else's work: whether it is what Vault gives is asked at once. A missing one
            // evicts jobs.
            self.in_place.served = false;
            self.retry_at = None;
            if self.in_place.token().is_none() && self.condition.state == State::Fresh {
                self.condition.set_plain(State::Renewing, now);
            }
        }
        if top_changed {
            self.in_place.served = false;
            self.proven = false;
            self.vault_life = None;
            self.failures = 0;
            self.retry_at = None;
            self.waits_for = None;
            self.looked_dead = false;
            if self.condition.state != State::Ignored {
                self.condition.set_plain(State::Renewing, now);
            }
        }
        self.judge(rules, now)
    }

    /// Decides whether the rules let it be served, and when it is due.
    pub(super) fn judge(&mut self, rules: &Rules, now: Now) -> Option<Event> {
        let hindrance = self.hindrance(rules);
        let was_hindered = std::mem::replace(&mut self.hindered, hindrance.is_some());
        if was_hindered && hindrance.is_none() {
            self.condition.set_plain(self.in_place.state(now), now);
        }
        let event = hindrance.and_then(|(state, reason)| self.set_state(state, reason, now));
        self.plan(rules.limits, now);
        event
    }

    /// Reason why it is not served at all.
    fn hindrance(&self, rules: &Rules) -> Option<(State, Reason)> {
        if let Err(not_ours) = rules.routing.check(self.top.id.service()) {
            let reason = Reason::here("not ours", &not_ours.to_string(), "");
            return Some((State::Ignored, reason));
        }
        match &self.top.route {
            Err(problem @ TopProblem::Unusable(_)) => {
                let reason = Reason::here("top", &problem.to_string(), STORE_AGAIN);
                Some((State::Dead, reason))
            }
            Err(problem @ TopProblem::Unreadable(_)) => {
                let reason = Reason::here("unreadable", &problem.to_string(), SEE_TO_FILES);
                Some((State::Degraded, reason))
            }
            Ok(route) if !rules.trusts(&route.host) => {
                let host = &route.host;
                let text = format!(
                    "its .top cannot be used: its vault_url's host {host} is not in \
                     TRUSTED_VAULT_HOSTS"
                );
                Some((State::Dead, Reason::here("untrusted", &text, STORE_AGAIN)))
            }
            Ok(_) => None,
        }
    }

    /// Computes when it is due.
    pub(super) fn plan(&mut self, limits: Limits, now: Now) {
        self.due = if self.hindered {
            None
        } else if let Some(at) = self.retry_at {
            Some(at)
        } else if self.in_place.served {
            let wall = now.wall.as_second();
            let confirmed = wall.saturating_sub(now.since(self.in_place.confirmed));
            let times = self.in_place.times(now);
            let due = timing::next_renewal(limits, self.jitter, wall, confirmed, times);
            Some(now.after(due.saturating_sub(wall).max(0)))
        } else {
            Some(now.mono)
        };
    }

    /// Whom it asks; `None` while it is not to be served.
    pub(super) fn route(&self) -> Option<&Route> {
        self.top.route.as_ref().ok().filter(|_| !self.hindered)
    }

    /// The host and the issuer that it has worked with.
    pub(super) fn proven_with(&self) -> Option<Target> {
        self.route().filter(|_| self.proven).map(Route::target)
    }

    /// Order of renewals: first credentials that jobs or users wait for, in the order in which they came;
    /// then those whose token expires first.
    pub(super) fn urgency(&self) -> Urgency {
        if self.in_place.token().is_none() || !self.in_place.served {
            Urgency::WaitedFor(self.top.stamp.changed())
        } else {
            Urgency::Expires(self.in_place.expires())
        }
    }

    /// Jobs or users wait for it, and it was not asked for yet: Vault may have a token of it in its cache,
    /// though the issuer is down.
    pub(super) fn is_untried(&self) -> bool {
        !self.in_place.served && self.failures == 0 && self.waits_for.is_none()
    }

    /// The renewal to do now. `seconds`: the lifetime that it asks for.
    pub(super) fn task(
        &self,
        seconds: SecondsToAsk,
        limits: Limits,
        now: Now,
    ) -> Option<RenewalTask> {
        let served = self.in_place.served;
        let times = self.in_place.times(now).filter(|_| served);
        // A token that somebody else installed is replaced by a better one, or by any of the
        // right identity if it is foreign; one of an older `.top` by any.
        let current = self.in_place.token().filter(|_| served || self.proven);
        Some(RenewalTask {
            id: self.top.id.clone(),
            route: self.route()?.clone(),
            stamp: self.top.stamp.clone(),
            use_file: self.in_place.file(),
            is_probe: false,
            kind: TaskKind::Renew {
                minimum_seconds: seconds(limits, times),
                current: current.cloned(),
            },
        })
    }

    /// `true` when a file was replaced by somebody else while a task was under way: its outcome says nothing of what
    /// is there now. A token that the task has installed may be seen before its end.
    pub(super) fn was_replaced(&self, task: &RenewalTask, outcome: &Outcome) -> bool {
        let seen = self.in_place.file();
        let has_other_use = match outcome {
            Outcome::Unchanged => seen != task.use_file,
            Outcome::Renewed { token, .. } => seen != task.use_file && seen != Some(token.file),
            _ => false,
        };
        has_other_use || self.top.stamp != task.stamp
    }

    /// Time at which the vault token's expiry is looked up, if it is not known: spread over the
    /// usual time between renewals.
    pub(super) fn plan_look_up(&self, limits: Limits, now: Now) -> Option<Instant> {
        let is_known = match self.vault_life {
            None => false,
            Some(VaultLife(None)) => true,
            // When it should be over but works, somebody renewed it.
            Some(VaultLife(Some(expires))) => expires > now.wall,
        };
        if is_known
            || self.in_place.looked_up
            || !self.proven
            || self.condition.state != State::Fresh
        {
            return None;
        }
        let usual = timing::usual(limits, self.in_place.times(now).map(|times| times.length));
        // Less than any time between two renewals but the first: each renewal begins it anew.
        let spread = self.jitter.redrawn(1).part(usual * 3 / 4);
        let spread = Duration::from_secs(spread.unsigned_abs());
        self.in_place.confirmed.checked_add(spread)
    }

    /// Ends all waiting: what held it up is over, or a person asks.
    pub(super) fn retry_now(&mut self, limits: Limits, now: Now) {
        self.waits_for = None;
        self.retry_at = None;
        self.plan(limits, now);
    }

    /// What it waited for works again: unless jobs wait for its token, it is renewed a little later, so that an outage
    /// that is over is not followed by a burst.
    pub(super) fn spread_after_outage(&mut self, limits: Limits, now: Now) {
        let left = self.in_place.left(now).filter(|_| self.in_place.served);
        if let Some(left) = left.filter(|left| *left > 0)
            && self.due.is_some_and(|due| due <= now.mono)
        {
            self.retry_at = Some(now.after(timing::after_outage(self.jitter, left)));
            self.plan(limits, now);
        }
    }

    /// The clock was stepped: what it seemed to be wrong with is asked again.
    pub(super) fn clock_stepped(&mut self, limits: Limits, now: Now) {
        self.in_place.clock_stepped(now);
        if let Some(Cause::Here("clock" | "unchanged")) = self.condition.cause() {
            self.retry_at = Some(now.mono);
        }
        self.plan(limits, now);
    }
}
