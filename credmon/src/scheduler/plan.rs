//! What is asked for now: renewals by urgency, probes of circuit breakers, look-ups when nothing else
//! is to be done. And the clock, whose steps make all of it be planned anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::breaker::Open;
use super::gate::Permit;
use super::record::{Activity, Record, Urgency};
use super::{Dependency, Scheduler, dependencies};
use crate::model::{CredentialId, Event, Level, Now, RenewalTask, Route, Rules, TaskKind};

/// A step of the wall clock of so many seconds is noticed.
const CLOCK_STEP: i64 = 5;

/// Wait of a look-up while others are to be asked first, in seconds.
const LOOK_UP_LATER: i64 = 60;

impl Scheduler {
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
        let room = self.gate.room();
        // Whether anybody may ask there, found out once for all that wait for it.
        let mut shut: BTreeMap<(&str, &str), bool> = BTreeMap::new();
        let mut best: Option<&(Urgency, CredentialId)> = None;
        for (account, routes) in &self.ready {
            if !room.has(account) {
                continue;
            }
            for (route, queue) in routes {
                let Some(first) = queue
                    .first()
                    .filter(|first| best.is_none_or(|b| *first < b))
                else {
                    continue;
                };
                // While not all credentials are known, one that is still to be found may expire
                // earlier than those that are.
                let is_known = self.all_known || matches!(first.0, Urgency::WaitedFor(_));
                let is_shut = || self.is_blocked(route) || self.gate.is_full(route);
                let key = (&*route.host, &*route.issuer);
                if !is_known || *shut.entry(key).or_insert_with(is_shut) {
                    continue;
                }
                let proven = self.records.get(&first.1).is_some_and(|r| r.proven);
                if self.gate.admits(route, proven, now.mono) {
                    best = Some(first);
                }
            }
        }
        self.records.get(&best?.1)?.task(self.rules.limits, now)
    }

    pub(super) fn is_blocked(&self, route: &Route) -> bool {
        self.open_breaker(route).is_some()
    }

    /// The open breaker that a request would meet first.
    pub(super) fn open_breaker(&self, route: &Route) -> Option<(Dependency, &Open)> {
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
    pub(super) fn check_clock(&mut self, record: &Record, now: Now) {
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
}
