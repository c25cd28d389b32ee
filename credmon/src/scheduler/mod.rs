//! The scheduler: which credential is renewed when, and what each outcome means for the others.
//!
//! Pure: no file, network, clock or log is touched here; time is passed in, and what is worth a line
//! in the log is returned. Always true: a credential has at most one task under way; no task begins
//! without a [`Permit`]; while a circuit breaker is open, those that it holds up send nothing but its
//! probe; what jobs and users wait for goes first, then what expires first, within what the gate
//! leaves to each account.

mod breaker;
mod charge;
mod condition;
mod gate;
mod in_place;
mod outcome;
mod plan;
mod queues;
mod record;
mod status;
mod timing;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use htvault::FailureScope;

use crate::model::{
    CredentialId, CredentialStatus, Event, Level, Lifetime, Now, Observed, Outcome, RenewalTask,
    Renewals, Route, Rules, State, TaskKind, forget_unused_texts,
};
use breaker::Breakers;
pub(crate) use gate::{Gate, Permit};
use outcome::{Context, TOKEN_IS_DEAD};
use queues::Queues;
use record::Record;

/// A Vault host, or an issuer at one.
type Dependency = (Arc<str>, Option<Arc<str>>);

/// All credentials, and what they share.
#[derive(Debug)]
pub(crate) struct Scheduler {
    rules: Rules,
    /// A record that a report is made of is copied when it changes meanwhile.
    records: BTreeMap<CredentialId, Arc<Record>>,
    queues: Queues,
    /// Those of hosts and issuers that have worked and that a credential names.
    breakers: Breakers,
    gate: Gate,
    renewals: Renewals,
    /// Issuers whose tokens were reported to live less than MINIMUM.
    short_lived: BTreeSet<Dependency>,
    last: Now,
    /// The first scan is over.
    all_known: bool,
    /// Accounts whose last fresh token seemed to come from the future, and by how many seconds.
    ahead: BTreeMap<Arc<str>, i64>,
    /// Problem of this host's clock.
    clock_problem: Option<String>,
}

impl Scheduler {
    pub(crate) fn new(rules: Rules, gate: Gate, now: Now) -> Self {
        gate.set_limit(rules.request_limit);
        let results = [
            "renewed", "kept", "less", "refused", "dead", "failed", "gone",
        ];
        Self {
            rules,
            records: BTreeMap::new(),
            queues: Queues::default(),
            breakers: Breakers::new(),
            gate,
            // From the start, so that the first failure is a rise.
            renewals: results.into_iter().map(|result| (result, 0)).collect(),
            short_lived: BTreeSet::new(),
            last: now,
            all_known: false,
            ahead: BTreeMap::new(),
            clock_problem: None,
        }
    }

    /// A credential is new, or one of its files changed.
    pub(crate) fn observe(&mut self, observed: Observed, now: Now) -> Vec<Event> {
        let id = observed.top.id.clone();
        let is_new = !self.records.contains_key(&id);
        if is_new {
            let record = Record::new(observed.clone(), &self.rules, now, !self.all_known);
            self.queues
                .set_proven(&id, None, record.proven_with().as_ref());
            self.records.insert(id.clone(), Arc::new(record));
        }
        let event = self.change(&id, now, |record, rules| {
            if is_new {
                record.judge(rules, now)
            } else {
                record.update(observed, rules, now)
            }
        });
        of(id.user(), event.flatten())
    }

    /// A credential is gone.
    pub(crate) fn gone(&mut self, id: &CredentialId) {
        if let Some(record) = self.records.remove(id) {
            self.queues.remove(&record);
            self.queues
                .set_proven(id, record.proven_with().as_ref(), None);
        }
    }

    /// A full scan is over.
    pub(crate) fn scanned(&mut self, now: Now) {
        self.all_known = true;
        self.gate.forget_idle(now.mono);
        forget_unused_texts();
        let records = &self.records;
        let users: HashSet<_> = records.keys().map(CredentialId::user).collect();
        self.ahead.retain(|user, _| users.contains(user));
        let routes = records.values().filter_map(|record| record.route());
        let used: HashSet<Dependency> = routes
            .flat_map(|r| dependencies(&r.host, &r.issuer))
            .collect();
        self.breakers.retain(|d, _| used.contains(d));
        self.short_lived.retain(|d| used.contains(d));
    }

    /// Other rules are in force: everything that waits is tried anew.
    pub(crate) fn reconsider(&mut self, rules: Rules, now: Now) -> Vec<Event> {
        self.gate.set_limit(rules.request_limit);
        self.rules = rules;
        self.breakers
            .values_mut()
            .for_each(|breaker| breaker.retry_now(now.mono));
        let ids: Vec<_> = self.records.keys().cloned().collect();
        let mut events = Vec::new();
        for id in ids {
            let judged = self.change(&id, now, |record, rules| {
                record.retry_now(rules.limits, now);
                record.judge(rules, now)
            });
            events.extend(of(id.user(), judged.flatten()));
        }
        events
    }

    /// Changes one record, and its places in the queues.
    fn change<T>(
        &mut self,
        id: &CredentialId,
        now: Now,
        change: impl FnOnce(&mut Record, &Rules) -> T,
    ) -> Option<T> {
        let record = Arc::make_mut(self.records.get_mut(id)?);
        self.queues.remove(record);
        let proven = record.proven_with();
        let result = change(record, &self.rules);
        record.look_up_at = record.plan_look_up(self.rules.limits, now);
        self.queues.add(record, now);
        let now_proven = record.proven_with();
        self.queues
            .set_proven(id, proven.as_ref(), now_proven.as_ref());
        Some(result)
    }

    /// A task ended: its outcome counts for the credential, and for what it shares with others.
    pub(crate) fn report(&mut self, task: &RenewalTask, outcome: Outcome, now: Now) -> Vec<Event> {
        let outcome = self.judge_short(task, outcome);
        self.count(task, &outcome);
        let (waits, mut events) = self.charge(task, &outcome, now);
        if let Outcome::Renewed { token, .. } = &outcome {
            events.extend(self.report_short_lived(task, token.lifetime));
            self.check_clock(task.id.user(), token.lifetime, now);
        }
        let failing = match outcome {
            Outcome::Failed(_) | Outcome::TokenDead(_) => self.failing(&task.id),
            _ => 0,
        };
        self.queues.running.remove(&task.id);
        let own = self.change(&task.id, now, |record, rules| {
            let context = Context {
                rules,
                now,
                waits,
                failing,
            };
            record.report(task, outcome, context)
        });
        events.extend(of(task.id.user(), own.into_iter().flatten()));
        events
    }

    /// Number of credentials of the same account that fail.
    fn failing(&self, id: &CredentialId) -> usize {
        let is_its = |(other, _): &(&CredentialId, _)| other.user() == id.user();
        let before = self.records.range(..id).rev().take_while(is_its);
        let own = before.chain(self.records.range(id..).take_while(is_its));
        own.filter(|(_, record)| record.failures > 0).count()
    }

    /// Credentials that have worked with a host or issuer.
    fn proven_at(&self, dependency: &Dependency) -> impl Iterator<Item = &Record> {
        let ids = self.queues.proven.get(dependency).into_iter().flatten();
        ids.filter_map(|id| self.records.get(id).map(|record| &**record))
    }

    /// Counts a renewal that ended.
    fn count(&mut self, task: &RenewalTask, outcome: &Outcome) {
        if matches!(task.kind, TaskKind::LookUp) {
            return;
        }
        let result = match outcome {
            Outcome::Renewed { shorter: None, .. } => "renewed",
            Outcome::Renewed {
                shorter: Some(_), ..
            } => "less",
            Outcome::Unchanged => "kept",
            Outcome::TokenDead(_) => "dead",
            Outcome::Failed(failure) if failure.scope != FailureScope::Local => "refused",
            Outcome::Failed(_) => "failed",
            Outcome::Changed => "gone",
            Outcome::LookedUp(_) => return,
        };
        *self.renewals.entry(result).or_default() += 1;
    }

    /// Says once that an issuer's tokens live less than the configuration asks for.
    fn report_short_lived(
        &mut self,
        task: &RenewalTask,
        lifetime: Option<Lifetime>,
    ) -> Option<Event> {
        let length = lifetime?.length();
        if length > self.rules.limits.minimum {
            return None;
        }
        let Route { host, issuer, .. } = &task.route;
        let dependency = (host.clone(), Some(issuer.clone()));
        if !self.short_lived.insert(dependency.clone()) {
            return None;
        }
        let text = format!(
            "access tokens of {issuer} at {host} live {length} s, less than \
             CREDMON_OAUTH_TOKEN_MINIMUM ({} s) asks for; they are renewed at a third of \
             their lifetime",
            self.rules.limits.minimum
        );
        Some(self.of_users(&dependency, task, Event::new(Level::Warning, text)))
    }

    /// The event of a host or issuer: of an account, where no other has worked with it.
    fn of_users(&self, dependency: &Dependency, task: &RenewalTask, event: Event) -> Event {
        let proven = self.queues.proven.get(dependency);
        // They are in the order of their accounts.
        let ends = proven.map(|all| [all.first(), all.last()]);
        let mut ends = ends.into_iter().flatten().flatten();
        if ends.all(|id| id.user() == task.id.user()) {
            event.of(task.id.user())
        } else {
            event
        }
    }

    pub(crate) fn clock_problem(&self) -> Option<&str> {
        self.clock_problem.as_deref()
    }

    /// Renewals since the start, by result.
    pub(crate) fn renewals(&self) -> &Renewals {
        &self.renewals
    }

    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// A credential as it was observed or made last.
    pub(crate) fn observed(&self, id: &CredentialId) -> Option<Observed> {
        self.records.get(id).map(|record| Observed {
            top: record.top.clone(),
            in_use: record.in_place.in_use.clone(),
        })
    }

    /// `true` when the vault token of a credential is dead, and nothing else keeps it from being served.
    pub(crate) fn is_dead(&self, id: &CredentialId) -> bool {
        let record = self.records.get(id);
        record.is_some_and(|record| record.condition.cause() == Some(TOKEN_IS_DEAD))
    }

    /// `true` when every credential of ours is fresh.
    pub(crate) fn all_good(&self, now: Now) -> bool {
        let is_good = |s: CredentialStatus| matches!(s.state, State::Fresh | State::Ignored);
        self.statuses(now).iter().all(is_good)
    }
}

/// Events of an account.
fn of(account: &Arc<str>, events: impl IntoIterator<Item = Event>) -> Vec<Event> {
    events.into_iter().map(|event| event.of(account)).collect()
}

/// Dependencies of a request: the host, then the issuer at it.
fn dependencies(host: &Arc<str>, issuer: &Arc<str>) -> [Dependency; 2] {
    [(host.clone(), None), (host.clone(), Some(issuer.clone()))]
}

fn name((host, issuer): &Dependency) -> String {
    match issuer {
        None => format!("Vault {host}"),
        Some(issuer) => format!("issuer {issuer} at Vault {host}"),
    }
}

#[cfg(test)]
mod tests;
