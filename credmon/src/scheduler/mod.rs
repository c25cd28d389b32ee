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
mod record;
mod status;
mod timing;

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Arc;
use std::time::Instant;

use htvault::FailureScope;

use crate::model::{
    CredentialId, CredentialStatus, Ended, Event, Level, Lifetime, Now, Observed, Outcome,
    RenewalTask, Renewals, Route, Rules, State, Target, TaskKind,
};
use breaker::Breaker;
pub(crate) use gate::Gate;
use outcome::Context;
use record::{Activity, Record, Urgency};

/// Credentials that are due for one issuer, the most urgent first.
type Queue = BTreeSet<(Urgency, CredentialId)>;

/// A Vault host, or an issuer at one.
type Dependency = (Arc<str>, Option<Arc<str>>);

/// All credentials, and what they share.
#[derive(Debug)]
pub(crate) struct Scheduler {
    rules: Rules,
    records: BTreeMap<CredentialId, Box<Record>>,
    /// Credentials that wait for their time.
    waiting: BTreeSet<(Instant, CredentialId)>,
    /// Credentials that are due.
    ready: BTreeMap<Target, Queue>,
    /// Vault tokens whose expiry is to be looked up.
    look_ups: BTreeSet<(Instant, CredentialId)>,
    /// Credentials that have worked with a host or issuer.
    proven: BTreeMap<Dependency, BTreeSet<CredentialId>>,
    /// Those of hosts and issuers that have worked and that a credential names.
    breakers: BTreeMap<Dependency, Breaker>,
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
            waiting: BTreeSet::new(),
            ready: BTreeMap::new(),
            look_ups: BTreeSet::new(),
            proven: BTreeMap::new(),
            breakers: BTreeMap::new(),
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
    pub(crate) fn observe(&mut self, observed: Arc<Observed>, now: Now) -> Vec<Event> {
        let id = observed.id.clone();
        let (record, events) = if let Some(mut record) = self.take(&id) {
            let events = record.update(observed, &self.rules, now);
            (record, events)
        } else {
            let at_start = !self.all_known;
            let mut record = Box::new(Record::new(observed, &self.rules, now, at_start));
            let events = record.judge(&self.rules, now);
            (record, events)
        };
        self.put(record, now);
        of(id.user(), events)
    }

    /// A credential is gone. One with a task under way goes when that ends.
    pub(crate) fn gone(&mut self, id: &CredentialId, now: Now) {
        if let Some(mut record) = self.take(id)
            && record.activity != Activity::Idle
        {
            record.activity = Activity::RunningGone;
            self.put(record, now);
        }
    }

    /// A full scan is over.
    pub(crate) fn scanned(&mut self, now: Now) {
        self.all_known = true;
        self.gate.forget_idle(now.mono);
        let records = &self.records;
        let users: BTreeSet<_> = records.keys().map(CredentialId::user).collect();
        self.ahead.retain(|user, _| users.contains(user));
        let routes = records.values().filter_map(|record| record.route());
        let used: BTreeSet<Dependency> = routes
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
            events.extend(of(id.user(), judged.into_iter().flatten()));
        }
        events
    }

    /// Changes one record.
    fn change<T>(
        &mut self,
        id: &CredentialId,
        now: Now,
        change: impl FnOnce(&mut Record, &Rules) -> T,
    ) -> Option<T> {
        let mut record = self.take(id)?;
        let result = change(&mut record, &self.rules);
        self.put(record, now);
        Some(result)
    }

    /// Takes a record out, and out of the queues that follow from it.
    fn take(&mut self, id: &CredentialId) -> Option<Box<Record>> {
        let record = self.records.remove(id)?;
        self.unlink(&record);
        Some(record)
    }

    /// Puts a record in, and into the queues that follow from it.
    fn put(&mut self, mut record: Box<Record>, now: Now) {
        record.look_up_at = record.plan_look_up(self.rules.limits, now);
        self.link(&record, now);
        self.records.insert(record.observed.id.clone(), record);
    }

    fn unlink(&mut self, record: &Record) {
        let id = &record.observed.id;
        if let Some(due) = record.due {
            self.waiting.remove(&(due, id.clone()));
        }
        if let Some(at) = record.look_up_at {
            self.look_ups.remove(&(at, id.clone()));
        }
        if let Some(route) = record.route()
            && let Entry::Occupied(mut queue) = self.ready.entry(route.target())
        {
            queue.get_mut().remove(&(record.urgency(), id.clone()));
            if queue.get().is_empty() {
                queue.remove();
            }
        }
        for dependency in record.proven_with() {
            if let Entry::Occupied(mut proven) = self.proven.entry(dependency) {
                proven.get_mut().remove(id);
                if proven.get().is_empty() {
                    proven.remove();
                }
            }
        }
    }

    fn link(&mut self, record: &Record, now: Now) {
        for dependency in record.proven_with() {
            let proven = self.proven.entry(dependency).or_default();
            proven.insert(record.observed.id.clone());
        }
        if record.activity != Activity::Idle {
            return;
        }
        let id = &record.observed.id;
        match (record.due, record.route()) {
            (Some(due), Some(route)) if due <= now.mono => {
                let queue = self.ready.entry(route.target()).or_default();
                queue.insert((record.urgency(), id.clone()));
            }
            (Some(due), _) => _ = self.waiting.insert((due, id.clone())),
            (None, _) => {}
        }
        if let Some(at) = record.look_up_at {
            self.look_ups.insert((at, id.clone()));
        }
    }

    /// A task ended: its outcome counts for the credential, and for what it shares with others.
    pub(crate) fn report(&mut self, task: &RenewalTask, ended: Ended, now: Now) -> Vec<Event> {
        let ended = Ended {
            outcome: self.judge_short(task, ended.outcome),
            ..ended
        };
        self.count(&ended.outcome);
        let (waits, mut events) = self.charge(task, &ended.outcome, now);
        if let Outcome::Renewed { token, .. } = &ended.outcome {
            events.extend(self.report_short_lived(task, token.lifetime));
        }
        let failing = match &ended.outcome {
            Outcome::Failed(_) | Outcome::TokenDead(_) => self.failing(task.id.user()),
            _ => 0,
        };
        let Some(mut record) = self.take(&task.id) else {
            return events;
        };
        let is_gone = record.activity == Activity::RunningGone;
        let is_renewed = matches!(ended.outcome, Outcome::Renewed { .. });
        record.activity = Activity::Idle;
        let context = Context {
            rules: &self.rules,
            now,
            waits,
            failing,
        };
        if record.was_replaced(task, &ended.outcome) {
            record.retry_now(self.rules.limits, now);
        } else if matches!(task.kind, TaskKind::LookUp) {
            record.report_look_up(&ended.outcome, context);
        } else {
            let mut own = record.report(ended.outcome, context);
            if record.route().is_none() {
                // The rules changed meanwhile: whatever came of it, it is not to be served.
                own.extend(record.judge(&self.rules, now));
            }
            events.extend(of(task.id.user(), own));
            if is_renewed {
                self.check_clock(&record, now);
            }
        }
        if !is_gone {
            self.put(record, now);
        }
        events
    }

    /// Credentials of an account that fail.
    fn failing(&self, user: &str) -> usize {
        let failing = self.records.values().filter(|record| record.failures > 0);
        failing
            .filter(|record| **record.observed.id.user() == *user)
            .count()
    }

    /// Credentials that have worked with a host or issuer.
    fn proven_at(&self, dependency: &Dependency) -> impl Iterator<Item = &Record> {
        let ids = self.proven.get(dependency).into_iter().flatten();
        ids.filter_map(|id| self.records.get(id).map(|record| &**record))
    }

    fn count(&mut self, outcome: &Outcome) {
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
        let proven = self.proven.get(dependency);
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
    pub(crate) fn observed(&self, id: &CredentialId) -> Option<Arc<Observed>> {
        self.records.get(id).map(|record| record.observed.clone())
    }

    /// `true` when only a new `.top` helps a credential.
    pub(crate) fn is_dead(&self, id: &CredentialId) -> bool {
        self.records
            .get(id)
            .is_some_and(|record| record.condition.state == State::Dead)
    }

    /// `true` when every credential of ours is fresh.
    pub(crate) fn all_good(&self, now: Now) -> bool {
        let statuses = self.statuses(now);
        let is_good = |s: &CredentialStatus| matches!(s.state, State::Fresh | State::Ignored);
        statuses.iter().all(is_good)
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
