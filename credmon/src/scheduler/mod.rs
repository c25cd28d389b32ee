//! The scheduler: which credential is renewed when, and what each outcome means for the others.
//!
//! Pure: no file, network, clock or log is touched here; time is passed in, and what is worth a line
//! in the log is returned. Always true: a credential has at most one task under way; no task begins
//! without a [`Permit`]; while a circuit breaker is open only its probe asks; what jobs and users
//! wait for goes first, then what expires first, within what the gate leaves to each account.

mod breaker;
mod charge;
mod condition;
mod gate;
mod in_place;
mod outcome;
mod record;
mod status;
mod timing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use htvault::FailureScope;

use crate::model::{
    Counters, CredentialId, Ended, Event, Level, Lifetime, Now, Observed, Outcome, RenewalTask,
    Route, Rules, State, TaskKind,
};
use breaker::{Breaker, Open};
pub(crate) use gate::{Gate, Permit};
use outcome::Context;
use record::{Activity, Record, Urgency};

/// A step of the wall clock of so many seconds is noticed.
const CLOCK_STEP: i64 = 5;

/// Wait of a look-up while others are to be asked first, in seconds.
const LOOK_UP_LATER: i64 = 60;

/// Credentials that are due for one route, the most urgent first.
type Queue = BTreeSet<(Urgency, CredentialId)>;

/// A Vault host, or an issuer at one.
type Dependency = (Arc<str>, Option<Arc<str>>);

/// All credentials, and what they share.
#[derive(Debug)]
pub(crate) struct Scheduler {
    rules: Rules,
    records: BTreeMap<CredentialId, Record>,
    /// Credentials that wait for their time.
    waiting: BTreeSet<(Instant, CredentialId)>,
    /// Credentials that are due, by account, and whom they ask.
    ready: BTreeMap<Arc<str>, BTreeMap<Route, Queue>>,
    /// Vault tokens whose expiry is to be looked up.
    look_ups: BTreeSet<(Instant, CredentialId)>,
    breakers: BTreeMap<Dependency, Breaker>,
    /// Failing credentials of each account.
    failing: BTreeMap<Arc<str>, usize>,
    gate: Gate,
    counters: Counters,
    /// Issuers whose tokens were reported to live less than MINIMUM.
    short_lived: BTreeSet<(Arc<str>, Arc<str>)>,
    last: Now,
    /// The first scan is over.
    all_known: bool,
    /// Seconds by which the last fresh token of each account seemed to come from the future.
    ahead: BTreeMap<Arc<str>, i64>,
    /// What is wrong with this host's clock.
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
            breakers: BTreeMap::new(),
            failing: BTreeMap::new(),
            gate,
            // From the start, so that the first failure is a rise.
            counters: results
                .into_iter()
                .map(|result| (("renewals", result), 0))
                .collect(),
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
            let mut record = Record::new(observed, &self.rules, now, !self.all_known);
            let events = record.judge(&self.rules, now);
            (record, events)
        };
        self.put(record, now);
        events
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
        self.breakers.retain(|_, breaker| !breaker.is_idle());
        self.gate.forget_idle(now.mono);
        let records = &self.records;
        let users: BTreeSet<_> = records.keys().map(CredentialId::user).collect();
        self.ahead.retain(|user, _| users.contains(user));
        self.short_lived.retain(|(host, issuer)| {
            let routes = records.values().filter_map(Record::route);
            routes
                .into_iter()
                .any(|route| route.host == *host && route.issuer == *issuer)
        });
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
            events.extend(judged.into_iter().flatten());
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

    /// Takes a record out, and out of everything that is derived from it.
    fn take(&mut self, id: &CredentialId) -> Option<Record> {
        let record = self.records.remove(id)?;
        self.unlink(&record);
        Some(record)
    }

    /// Puts a record in, and into everything that is derived from it: queues, breakers, counts.
    fn put(&mut self, mut record: Record, now: Now) {
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
        if record.failures > 0
            && let Some(count) = self.failing.get_mut(id.user())
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.failing.remove(id.user());
            }
        }
        let Some(route) = record.route() else {
            return;
        };
        if let Some(routes) = self.ready.get_mut(id.user()) {
            if let Some(queue) = routes.get_mut(route) {
                queue.remove(&(record.urgency(), id.clone()));
                if queue.is_empty() {
                    routes.remove(route);
                }
            }
            if routes.is_empty() {
                self.ready.remove(id.user());
            }
        }
        if record.proven {
            for dependency in dependencies(route) {
                if let Some(breaker) = self.breakers.get_mut(&dependency) {
                    breaker.remove_proven(id.user());
                }
            }
        }
    }

    fn link(&mut self, record: &Record, now: Now) {
        let id = &record.observed.id;
        if let (Some(due), false) = (record.due, record.activity != Activity::Idle) {
            match record.route() {
                Some(route) if due <= now.mono => {
                    let routes = self.ready.entry(id.user().clone()).or_default();
                    let queue = routes.entry(route.clone()).or_default();
                    queue.insert((record.urgency(), id.clone()));
                }
                _ => _ = self.waiting.insert((due, id.clone())),
            }
        }
        if let (Some(at), false) = (record.look_up_at, record.activity != Activity::Idle) {
            self.look_ups.insert((at, id.clone()));
        }
        if let (Some(route), true) = (record.route(), record.proven) {
            for dependency in dependencies(route) {
                self.breakers
                    .entry(dependency)
                    .or_default()
                    .add_proven(id.user());
            }
        }
        if record.failures > 0 {
            *self.failing.entry(id.user().clone()).or_default() += 1;
        }
    }

    /// Decides what is asked for now. Each task comes with the right to do it.
    pub(crate) fn plan(&mut self, now: Now) -> (Vec<(RenewalTask, Permit)>, Vec<Event>) {
        let events = self.notice_clock(now);
        while let Some((due, id)) = self.waiting.first().cloned()
            && due <= now.mono
        {
            self.waiting.pop_first();
            self.change(&id, now, |_, _| ());
        }
        let mut tasks = self.probes(now);
        while let Some(task) = self.most_urgent(now) {
            tasks.push(self.start(task, None, now));
        }
        let mut routes = self.ready.values().flat_map(BTreeMap::keys);
        let rests = routes.all(|route| self.is_blocked(route));
        if rests && tasks.is_empty() && self.all_known {
            tasks.extend(self.look_up(now));
        }
        (tasks, events)
    }

    /// The most urgent renewal that may be done now.
    fn most_urgent(&self, now: Now) -> Option<RenewalTask> {
        let mut best: Option<&(Urgency, CredentialId)> = None;
        for (account, routes) in &self.ready {
            if !self.gate.admits_account(account) {
                continue;
            }
            for (route, queue) in routes {
                let Some(first) = queue.first() else {
                    continue;
                };
                let is_better = best.is_none_or(|best| first < best);
                // While not all credentials are known, one that is still to be found may expire
                // earlier than those that are.
                let is_known = self.all_known || matches!(first.0, Urgency::WaitedFor(_));
                if is_better && is_known && !self.is_blocked(route) {
                    let proven = self.records.get(&first.1).is_some_and(|r| r.proven);
                    if self.gate.admits(route, proven, now.mono) {
                        best = Some(first);
                    }
                }
            }
        }
        self.records.get(&best?.1)?.task(self.rules.limits, now)
    }

    fn is_blocked(&self, route: &Route) -> bool {
        self.open_breaker(route).is_some()
    }

    /// The open breaker that a request would meet first.
    fn open_breaker(&self, route: &Route) -> Option<(Dependency, &Open)> {
        dependencies(route).into_iter().find_map(|dependency| {
            let open = self.breakers.get(&dependency)?.open()?;
            Some((dependency, open))
        })
    }

    /// One probe for each open breaker whose time has come: by a credential that worked before, of
    /// another account than the last time if there is one that the gate admits.
    fn probes(&mut self, now: Now) -> Vec<(RenewalTask, Permit)> {
        let due = self
            .breakers
            .iter()
            .filter(|(_, breaker)| breaker.wants_probe(now.mono));
        let due: Vec<Dependency> = due.map(|(dependency, _)| dependency.clone()).collect();
        let mut tasks = Vec::new();
        for dependency in due {
            let prober = self
                .breakers
                .get(&dependency)
                .and_then(|b| b.open()?.prober.clone());
            // The first of each route: whether that is admitted is the same for all of it.
            let mut first: BTreeMap<&Route, (bool, Option<Instant>, &CredentialId)> =
                BTreeMap::new();
            let is_idle = |r: &&Record| r.proven && r.activity == Activity::Idle;
            for record in self.records.values().filter(is_idle) {
                let Some(route) = record.route() else {
                    continue;
                };
                let id = &record.observed.id;
                let order = (Some(id.user()) == prober.as_ref(), record.due, id);
                let known = first.entry(route).or_insert(order);
                *known = order.min(*known);
            }
            let can_ask = |route: &Route| {
                // An issuer is not probed through a host that is down.
                let first = self.open_breaker(route).map(|(first, _)| first);
                first.as_ref() == Some(&dependency) && self.gate.admits(route, true, now.mono)
            };
            let chosen = first.into_iter().filter(|(route, _)| can_ask(route));
            let chosen = chosen.map(|(_, order)| order).min();
            let chosen = chosen.and_then(|(.., id)| self.records.get(id));
            let limits = self.rules.limits;
            let Some(task) = chosen.and_then(|record| record.task(limits, now)) else {
                continue;
            };
            let account = task.route.account.clone();
            let probe = self
                .breakers
                .get_mut(&dependency)
                .and_then(|b| b.probe(&account));
            tasks.push(self.start(task, probe, now));
        }
        tasks
    }

    /// The next look-up of a vault token's expiry: only when nothing else is to be done.
    fn look_up(&mut self, now: Now) -> Option<(RenewalTask, Permit)> {
        let (at, id) = self.look_ups.first().filter(|(at, _)| *at <= now.mono)?;
        let record = self.records.get(id)?;
        let route = record.route()?;
        if self.is_blocked(route) || !self.gate.admits(route, true, now.mono) {
            // Others are to be asked first: it comes to the end of the line.
            let (at, id) = (*at, id.clone());
            self.look_ups.remove(&(at, id.clone()));
            if let Some(record) = self.records.get_mut(&id) {
                record.look_up_at = Some(now.after(LOOK_UP_LATER));
            }
            self.look_ups.insert((now.after(LOOK_UP_LATER), id));
            return None;
        }
        let task = record.task(self.rules.limits, now)?;
        Some(self.start(
            RenewalTask {
                kind: TaskKind::LookUp,
                ..task
            },
            None,
            now,
        ))
    }

    fn start(
        &mut self,
        task: RenewalTask,
        probe: Option<Arc<()>>,
        now: Now,
    ) -> (RenewalTask, Permit) {
        let start = |record: &mut Record, _: &Rules| {
            record.activity = Activity::Running;
            record.proven
        };
        let proven = self.change(&task.id, now, start).unwrap_or(false);
        let permit = self.gate.enter(task.route.clone(), proven, probe);
        (task, permit)
    }

    /// Time at which there is something to do, if nothing happens before.
    pub(crate) fn next_wake(&self, now: Now) -> Option<Instant> {
        let due = self.waiting.first().map(|(due, _)| *due);
        let open = self
            .breakers
            .values()
            .filter_map(|breaker| Some(breaker.open()?.retry_at));
        let probe = open.filter(|&at| at > now.mono).min();
        let room = if self.ready.is_empty() {
            None
        } else {
            self.gate.next_room()
        };
        let look_up = self
            .look_ups
            .first()
            .map(|(at, _)| *at)
            .filter(|&at| at > now.mono);
        [due, probe, room.filter(|&at| at > now.mono), look_up]
            .into_iter()
            .flatten()
            .min()
    }

    /// A task ended: its outcome counts for the credential, and for what it shares with others.
    pub(crate) fn report(&mut self, task: &RenewalTask, ended: Ended, now: Now) -> Vec<Event> {
        self.count(&ended.outcome);
        let (waits, mut events) = self.charge(task, &ended.outcome, now);
        if let Outcome::Renewed { token, .. } = &ended.outcome {
            events.extend(self.report_short_lived(task, token.lifetime));
        }
        let failing = self.failing.get(task.id.user()).copied().unwrap_or(0);
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
        // "Unchanged" speaks of the token that the decision was made from.
        let is_other_use =
            matches!(ended.outcome, Outcome::Unchanged) && !record.has_token_of(task);
        if record.observed.stamp != task.stamp || is_other_use {
            // A file was replaced meanwhile: what came of the old one says nothing.
            record.retry_now(self.rules.limits, now);
        } else if matches!(task.kind, TaskKind::LookUp) {
            record.report_look_up(&ended.outcome, context);
        } else {
            events.extend(record.report(ended.outcome, context));
            if is_renewed {
                self.check_clock(&record, now);
            }
        }
        if !is_gone {
            self.put(record, now);
        }
        events
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
        *self.counters.entry(("renewals", result)).or_default() += 1;
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
        self.short_lived
            .insert((host.clone(), issuer.clone()))
            .then(|| {
                Event::new(
                    Level::Warning,
                    format!(
                        "access tokens of {issuer} at {host} live {length} s, less than \
                     CREDMON_OAUTH_TOKEN_MINIMUM ({} s) asks for; they are renewed at a third of \
                     their lifetime",
                        self.rules.limits.minimum
                    ),
                )
            })
    }

    /// Plans everything anew after the wall clock was stepped.
    fn notice_clock(&mut self, now: Now) -> Vec<Event> {
        let wall = now
            .wall
            .as_second()
            .saturating_sub(self.last.wall.as_second());
        let step = wall.saturating_sub(now.since(self.last.mono));
        self.last = now;
        if step.abs() < CLOCK_STEP {
            return Vec::new();
        }
        self.ahead.clear();
        self.clock_problem = None;
        let ids: Vec<_> = self.records.keys().cloned().collect();
        for id in ids {
            self.change(&id, now, |record, rules| {
                record.clock_stepped(rules.limits, now);
            });
        }
        let text = format!("this host's clock was set by {step} s; renewals are planned anew");
        vec![Event::new(Level::Warning, text)]
    }

    /// Compares this host's clock with what fresh tokens say: those of most accounts, for a server
    /// that one account names may say anything.
    fn check_clock(&mut self, record: &Record, now: Now) {
        let ahead = record.in_place.ahead(now).unwrap_or(0);
        self.ahead.insert(record.observed.id.user().clone(), ahead);
        let mut all: Vec<i64> = self.ahead.values().copied().collect();
        all.sort_unstable();
        let median = all
            .get((all.len() - 1) / 2)
            .copied()
            .filter(|&ahead| ahead > 0);
        self.clock_problem = median.map(|ahead| {
            format!(
                "this host's clock is behind: fresh access tokens were issued {ahead} s from now"
            )
        });
    }

    pub(crate) fn clock_problem(&self) -> Option<&str> {
        self.clock_problem.as_deref()
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// `true` when only a new `.top` helps a credential.
    pub(crate) fn is_dead(&self, id: &CredentialId) -> bool {
        self.records
            .get(id)
            .is_some_and(|record| record.condition.state == State::Dead)
    }

    /// `true` when every credential of ours is fresh.
    pub(crate) fn all_good(&self, now: Now) -> bool {
        let states = self.statuses(now).map(|status| status.state);
        states
            .into_iter()
            .all(|state| matches!(state, State::Fresh | State::Ignored))
    }
}

/// What a request depends on: the host, then the issuer at it.
fn dependencies(route: &Route) -> [Dependency; 2] {
    let host = &route.host;
    [
        (host.clone(), None),
        (host.clone(), Some(route.issuer.clone())),
    ]
}

fn name((host, issuer): &Dependency) -> String {
    match issuer {
        None => format!("Vault {host}"),
        Some(issuer) => format!("issuer {issuer} at Vault {host}"),
    }
}

#[cfg(test)]
mod tests;
