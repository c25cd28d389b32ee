//! What a failure is charged to (design rule 7): path and credential, issuer, or host.
//!
//! A failure that speaks of a host or issuer goes to its circuit breaker, and only if its credential
//! has worked before; everything else concerns the credential alone.

use std::sync::Arc;
use std::time::Duration;

use htvault::{ErrorKind, FailureScope};
use jiff::Timestamp;

use super::breaker::Charge;
use super::record::Record;
use super::timing::{self, Jitter};
use super::{Dependency, Scheduler, dependencies, name};
use crate::model::{
    CLOCK_TOLERANCE, CredentialId, Event, Failure, Level, Now, Outcome, RenewalTask, Route,
    TokenInfo,
};

impl Scheduler {
    /// Charges an outcome to what it speaks of. Returns whether the credential waits for a circuit
    /// breaker.
    pub(super) fn charge(
        &mut self,
        task: &RenewalTask,
        outcome: &Outcome,
        now: Now,
    ) -> (bool, Vec<Event>) {
        let proven = self.records.get(&task.id).is_some_and(|r| r.proven);
        let mut waits = false;
        let mut events = Vec::new();
        let dependencies = dependencies(&task.route.host, &task.route.issuer);
        // What Vault may have had before the issuer failed says nothing of the issuer. A probe asks for one that is new.
        let is_cached = match outcome {
            Outcome::Renewed { token, .. } => self.is_new(task, token) == Some(false),
            _ => false,
        };
        let verdicts = verdicts(outcome, is_cached && !task.is_probe);
        for (dependency, verdict) in dependencies.iter().zip(verdicts) {
            match verdict {
                Verdict::Up => {
                    let event = self.recovered(dependency, now);
                    events.extend(event.map(|event| self.of_users(dependency, task, event)));
                }
                Verdict::Down(failure) if proven => {
                    let (is_open, event) = self.failed(dependency, task, failure, now);
                    waits = is_open;
                    events.extend(event.map(|event| self.of_users(dependency, task, event)));
                    // An issuer behind a host that fails was not asked.
                    break;
                }
                Verdict::Down(_) | Verdict::Nothing if task.is_probe => {
                    let breaker = self.breakers.get_mut(dependency);
                    // It was a probe of the first that is open.
                    if breaker.is_some_and(|b| b.inconclusive(now.after(timing::GAP))) {
                        break;
                    }
                }
                // What has never worked says nothing of what it shares with others.
                Verdict::Down(_) | Verdict::Nothing => {}
            }
        }
        (waits, events)
    }

    /// `true` for a token that was surely issued after the circuit breaker of its issuer opened; `None` when that is not
    /// open.
    fn is_new(&self, task: &RenewalTask, token: &TokenInfo) -> Option<bool> {
        let [_, issuer] = dependencies(&task.route.host, &task.route.issuer);
        let open = self.breakers.get(&issuer)?.open()?;
        let began = token.lifetime.map(|lifetime| lifetime.issued);
        // One that does not say when it was issued has the time of its writing instead, which shows nothing.
        let said = began.filter(|began| *began < token.written);
        let seconds = |began: Timestamp| began.as_second() - CLOCK_TOLERANCE;
        Some(said.is_some_and(|began| seconds(began) > open.since.as_second()))
    }

    /// Drops the complaint that a token lives less than was asked for, when the token is new: the issuer works, and
    /// seems to give less since it backdates the time of issue. What Vault had cached before says nothing of the issuer.
    pub(super) fn judge_short(&self, task: &RenewalTask, mut outcome: Outcome) -> Outcome {
        if let Outcome::Renewed { token, shorter } = &mut outcome {
            let is_new = self.is_new(task, token) == Some(true);
            shorter.take_if(|failure| is_new && failure.scope == FailureScope::Issuer);
        }
        outcome
    }

    /// A dependency failed for a credential that has worked. Returns whether its breaker is open.
    fn failed(
        &mut self,
        dependency: &Dependency,
        task: &RenewalTask,
        failure: &Failure,
        now: Now,
    ) -> (bool, Option<Event>) {
        let jitter = Jitter::of(&self.rules.hostname, &dependency.0, "");
        let least = match failure.scope {
            FailureScope::Quota => self.quota_wait(&dependency.0, failure, now),
            _ => 0,
        };
        let seconds = |seconds: i64| Duration::from_secs(seconds.unsigned_abs());
        let pause = |failures| timing::probe_delay(failures, jitter);
        let delay = |failures| seconds(pause(failures).max(least));
        let why = format!(
            "{} {}: {}",
            name(dependency),
            trouble(failure),
            failure.words
        );
        let proven = self.queues.proven.get(dependency).into_iter().flatten();
        let proven = proven.map(|id| id.user().clone()).collect();
        let breaker = self.breakers.entry(dependency.clone()).or_default();
        let account = &task.route.account;
        match breaker.failed(account, &proven, &why, (now.mono, now.wall), delay) {
            Charge::Credential => {
                // A probe of the issuer has not got there.
                let [_, issuer] = dependencies(&task.route.host, &task.route.issuer);
                if let Some(issuer) = self.breakers.get_mut(&issuer).filter(|_| task.is_probe) {
                    issuer.missed(now.mono, |failures| seconds(pause(failures)));
                }
                (false, None)
            }
            Charge::Open { just_opened } => {
                let text = format!("{why}; one request at a time finds out when that is over");
                (true, just_opened.then(|| Event::new(Level::Warning, text)))
            }
        }
    }

    /// Seconds to wait for the end of a rate limit: what the server asks, within a third of the
    /// shortest lifetime that depends on it.
    fn quota_wait(&self, host: &Arc<str>, failure: &Failure, now: Now) -> i64 {
        const LEAST: u64 = 30;
        let asked = failure
            .retry_after
            .map_or(LEAST, |asked| asked.as_secs().saturating_add(1));
        let at_host = (host.clone(), None);
        let depending = self.proven_at(&at_host);
        let lefts = depending.filter_map(|r| r.in_place.left(now));
        let most = lefts.min().map_or(300, |left| (left / 3).clamp(5, 300));
        i64::try_from(asked).unwrap_or(i64::MAX).min(most)
    }

    /// A dependency works, for the first time or again: whatever waited for it goes on.
    fn recovered(&mut self, dependency: &Dependency, now: Now) -> Option<Event> {
        let is_first = !self.breakers.contains_key(dependency);
        let breaker = self.breakers.entry(dependency.clone()).or_default();
        let was_open = breaker.succeeded();
        if !(is_first || was_open) {
            return None;
        }
        // A limit that met one credential is not over because others are served.
        let scope = match dependency.1 {
            Some(_) => FailureScope::Issuer,
            None => FailureScope::Host,
        };
        let depends = |record: &Record| {
            let is_at = |r: &Route| dependencies(&r.host, &r.issuer).contains(dependency);
            record.route().is_some_and(is_at)
        };
        let waits = |record: &Record| {
            let has_become_due = was_open && record.due.is_some_and(|due| due <= now.mono);
            (record.waits_for == Some(scope) || has_become_due) && depends(record)
        };
        let waiting = self.records.iter().filter(|(_, record)| waits(record));
        let waiting: Vec<CredentialId> = waiting.map(|(id, _)| id.clone()).collect();
        for id in waiting {
            self.change(&id, now, |record, rules| {
                record.retry_now(rules.limits, now);
                record.spread_after_outage(rules.limits, now);
            });
        }
        was_open.then(|| Event::new(Level::Info, format!("{} works again", name(dependency))))
    }
}

/// Verdict of an outcome on a host or issuer.
enum Verdict<'o> {
    Up,
    Down(&'o Failure),
    Nothing,
}

/// Verdicts of an outcome on the host, and on the issuer. `is_cached`: the token says nothing of the issuer.
fn verdicts(outcome: &Outcome, is_cached: bool) -> [Verdict<'_>; 2] {
    use Verdict::{Down, Nothing, Up};
    match outcome {
        Outcome::Renewed { shorter: None, .. } if is_cached => [Up, Nothing],
        Outcome::Renewed { shorter: None, .. } => [Up, Up],
        Outcome::Renewed {
            shorter: Some(failure),
            ..
        } => match failure.scope {
            FailureScope::Issuer => [Up, Down(failure)],
            _ => [Up, Nothing],
        },
        Outcome::Unchanged | Outcome::TokenDead(_) | Outcome::LookedUp(_) => [Up, Nothing],
        Outcome::Changed => [Nothing, Nothing],
        Outcome::Failed(failure) => match failure.scope {
            FailureScope::Host | FailureScope::Quota => [Down(failure), Nothing],
            FailureScope::Issuer => [Up, Down(failure)],
            // A policy's refusal is Vault's own word; a strange page is not.
            _ if failure.kind == Some(ErrorKind::Forbidden) => [Up, Nothing],
            _ => [Nothing, Nothing],
        },
    }
}

/// Failure of a dependency, in words.
fn trouble(failure: &Failure) -> &'static str {
    match failure.kind {
        Some(ErrorKind::Sealed) => "is sealed",
        Some(ErrorKind::Standby | ErrorKind::NoLeader) => "has no leader",
        Some(ErrorKind::Untrusted) => "has a certificate that is not trusted",
        Some(ErrorKind::RateLimited) => "limits requests",
        Some(ErrorKind::NotLongEnough | ErrorKind::IssuerDown) => "gives no new tokens",
        _ => "does not answer",
    }
}
