//! What each outcome of a task makes of a credential: its state, and how long the next attempt waits.

use std::sync::Arc;

use htvault::{Action, FailureScope};

use super::record::Record;
use super::timing::{self, RetryPolicy};
use crate::model::{
    Cause, Event, Failure, InUse, Level, Now, Outcome, Reason, RenewalTask, Rules, STORE_AGAIN,
    State, TaskKind, TokenInfo,
};

/// Wait before the second look-up of a vault token that seems dead, in seconds: a server that lags may
/// not know a young one yet (openbao#3877).
const SECOND_LOOK: i64 = 5;

/// Least time between two renewals of a token of the field, in seconds.
const LEAST_USUAL: i64 = 15;

/// Failing credentials of an account that do not slow each other down.
const SHARE: usize = 16;

/// Longest wait that failing credentials of one account impose on each other, in seconds.
const LONGEST_SHARED: i64 = 3600;

/// Cause of a credential's state: its vault token seems dead.
const SEEMS_DEAD: Cause = Cause::Here("seems dead");

/// Cause of a credential's state: its vault token is dead for sure.
pub(super) const TOKEN_IS_DEAD: Cause = Cause::Here("dead");

/// Circumstances of an outcome beside the credential itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'r> {
    pub(super) rules: &'r Rules,
    pub(super) now: Now,
    /// A circuit breaker decides when the credential goes on.
    pub(super) waits: bool,
    /// Credentials of the account that fail.
    pub(super) failing: usize,
}

impl Record {
    /// A task ended: takes in what came of it.
    pub(super) fn report(
        &mut self,
        task: &RenewalTask,
        outcome: Outcome,
        context: Context<'_>,
    ) -> Vec<Event> {
        let (rules, now) = (context.rules, context.now);
        if self.was_replaced(task, &outcome) {
            self.retry_now(rules.limits, now);
            return Vec::new();
        }
        let mut events = match task.kind {
            TaskKind::LookUp => {
                self.looked_up(&outcome, now);
                Vec::new()
            }
            TaskKind::Renew { .. } => self.tried(outcome, context),
        };
        // The rules may have changed meanwhile: whatever came of it, it may not be served any more.
        events.extend(self.judge(rules, now));
        events
    }

    /// An attempt to renew its access token ended.
    fn tried(&mut self, outcome: Outcome, context: Context<'_>) -> Vec<Event> {
        let now = context.now;
        if !matches!(outcome, Outcome::Changed) {
            self.changes = 0;
        }
        let event = match outcome {
            Outcome::Renewed { token, shorter } => return self.renewed(token, shorter, context),
            Outcome::Unchanged => self.unchanged(context),
            // The next scan tells.
            Outcome::Changed | Outcome::LookedUp(_) => {
                self.changes = self.changes.saturating_add(1);
                let wait = timing::after_change(self.changes, self.jitter);
                self.retry_at = Some(now.after(wait));
                None
            }
            Outcome::TokenDead(text) => self.dead(&text, context),
            Outcome::Failed(failure) => self.refused(&failure, context),
        };
        event.into_iter().collect()
    }

    /// A look-up of the vault token's expiry ended. A failure says nothing; a token that seems dead for the first time is
    /// renewed at once, which finds out.
    fn looked_up(&mut self, outcome: &Outcome, now: Now) {
        self.in_place.looked_up = true;
        match outcome {
            Outcome::LookedUp(life) => {
                self.vault_life = Some(*life);
                self.looked_dead = false;
            }
            Outcome::TokenDead(_) if !self.looked_dead => {
                self.looked_dead = true;
                self.retry_at = Some(now.mono);
            }
            _ => {}
        }
    }

    fn renewed(
        &mut self,
        token: Arc<TokenInfo>,
        shorter: Option<Failure>,
        context: Context<'_>,
    ) -> Vec<Event> {
        let now = context.now;
        let id = token.id.clone();
        self.in_place.receive(Some(InUse::Token(token)), now);
        self.succeeded(now);
        let until = self.in_place.expiry_text(now);
        let jti = id.as_deref().unwrap_or("none");
        let text = format!("{}: access token renewed, {until}, jti {jti}", self.top.id);
        let mut events = vec![Event::new(Level::Renewal, text)];
        events.extend(match shorter {
            _ if self.in_place.has_expired(now) => self.clock_is_wrong(context),
            None => self.well(now),
            Some(failure) => {
                let text = format!(
                    "it got a cached access token, {until}, since {}",
                    failure.text
                );
                let reason = Reason {
                    text: text.into(),
                    ..reason_of(&failure)
                };
                self.waits_for = Some(failure.scope);
                if context.waits {
                    self.set_state(State::Degraded, reason, now)
                } else {
                    self.failed(policy_of(&failure), reason, context)
                }
            }
        });
        events
    }

    fn unchanged(&mut self, context: Context<'_>) -> Option<Event> {
        let now = context.now;
        let failures = self.failures;
        self.succeeded(now);
        let times = self.in_place.times(now);
        let is_short = times
            .is_some_and(|times| times.left <= timing::margin(context.rules.limits, times.length));
        if self.in_place.has_expired(now) {
            self.clock_is_wrong(context)
        } else if is_short {
            // Not for the first time, perhaps: by a clock that is ahead it may be so for long.
            self.failures = failures;
            let reason = Reason::here("unchanged", "Vault has no newer access token", "");
            self.failed(RetryPolicy::Transient, reason, context)
        } else {
            self.well(now)
        }
    }

    /// A request succeeded, so the token in place is the newest.
    fn succeeded(&mut self, now: Now) {
        self.in_place.served = true;
        self.in_place.confirmed = now.mono;
        self.in_place.looked_up = false;
        self.proven = true;
        self.failures = 0;
        self.retry_at = None;
        self.waits_for = None;
    }

    fn well(&mut self, now: Now) -> Option<Event> {
        let before = self.condition.state;
        self.condition.set_plain(State::Fresh, now);
        let what = match before {
            State::Renewing => "the access token is in place",
            State::Degraded | State::Dead => "the access token is renewed again",
            State::Fresh | State::Ignored => return None,
        };
        let until = self.in_place.expiry_text(now);
        Some(Event::new(
            Level::Info,
            format!("{}: {what}, {until}", self.top.id),
        ))
    }

    fn refused(&mut self, failure: &Failure, context: Context<'_>) -> Option<Event> {
        self.waits_for = Some(failure.scope);
        if context.waits {
            self.retry_at = None;
            let event = self.set_state(State::Degraded, reason_of(failure), context.now);
            // The breaker's own line stands in the log.
            return event.map(|event| Event {
                level: Level::Debug,
                ..event
            });
        }
        let event = self.failed(policy_of(failure), reason_of(failure), context);
        if let Some(asked) = failure.retry_after {
            // As long as the server asks, within what the token in place allows.
            let left = self.in_place.left(context.now);
            let most = left.map_or(300, |left| (left / 3).clamp(15, 300));
            let asked = i64::try_from(asked.as_secs())
                .unwrap_or(i64::MAX)
                .saturating_add(1);
            self.retry_at = self.retry_at.max(Some(context.now.after(asked.min(most))));
        }
        event
    }

    fn dead(&mut self, text: &str, context: Context<'_>) -> Option<Event> {
        let seemed_dead = matches!(self.condition.cause(), Some(SEEMS_DEAD | TOKEN_IS_DEAD));
        if !seemed_dead {
            self.retry_at = Some(context.now.after(SECOND_LOOK));
            let reason = Reason {
                cause: SEEMS_DEAD,
                text: format!("{text}; it is asked once more").into(),
                advice: "",
            };
            return self.set_state(State::Degraded, reason, context.now);
        }
        self.proven = false;
        self.wait(RetryPolicy::Dead, context);
        let reason = Reason {
            cause: TOKEN_IS_DEAD,
            text: text.into(),
            advice: STORE_AGAIN,
        };
        self.set_state(State::Dead, reason, context.now)
    }

    /// Vault gives no token that has expired: it is this host that is wrong.
    fn clock_is_wrong(&mut self, context: Context<'_>) -> Option<Event> {
        let text = "the newest access token that Vault gives has expired by this host's clock; it is \
                    in place, for other hosts may see it differently";
        let reason = Reason::here("clock", text, "check this host's clock");
        let event = self.failed(RetryPolicy::NeedsPerson, reason, context);
        // The token is as good as ever: it is renewed as often as ever. One that does not say since when it
        // lives seems to live for no time at all.
        let length = self.in_place.times(context.now).map(|times| times.length);
        let usual = timing::usual(context.rules.limits, length);
        if usual >= LEAST_USUAL {
            self.retry_at = Some(context.now.after(usual));
        }
        event
    }

    fn failed(
        &mut self,
        policy: RetryPolicy,
        reason: Reason,
        context: Context<'_>,
    ) -> Option<Event> {
        self.wait(policy, context);
        self.set_state(State::Degraded, reason, context.now)
    }

    /// Puts the next attempt off. The failing credentials of one account share their attempts: the
    /// more there are, the longer each of them waits, if it has never worked.
    fn wait(&mut self, policy: RetryPolicy, context: Context<'_>) {
        self.failures = self.failures.saturating_add(1);
        let in_place = &self.in_place;
        let left = in_place
            .token()
            .map(|_| in_place.left(context.now).unwrap_or(i64::MAX));
        let mut wait = timing::retry_delay(policy, self.failures, self.jitter, left);
        if !self.proven && context.failing > SHARE {
            let factor = i64::try_from(context.failing / SHARE).unwrap_or(i64::MAX);
            wait = wait.saturating_mul(factor).min(LONGEST_SHARED.max(wait));
        }
        self.retry_at = Some(context.now.after(wait));
    }
}

fn reason_of(failure: &Failure) -> Reason {
    Reason {
        cause: failure.kind.map_or(Cause::Here("local"), Cause::Server),
        text: failure.text.as_str().into(),
        advice: failure.advice,
    }
}

/// Retry policy of a failure that one credential waits for alone.
fn policy_of(failure: &Failure) -> RetryPolicy {
    use Action::{FixConfiguration, FixPolicy, Onboard};
    match (failure.scope, failure.kind.map(htvault::ErrorKind::action)) {
        (FailureScope::Quota, _) => RetryPolicy::Quota,
        (FailureScope::Credential, Some(Onboard | FixPolicy | FixConfiguration)) => {
            RetryPolicy::NeedsPerson
        }
        _ => RetryPolicy::Transient,
    }
}
