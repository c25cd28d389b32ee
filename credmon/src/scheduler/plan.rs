//! What is asked for now: renewals by urgency, probes of circuit breakers, look-ups when nothing else
//! is to be done. And the clock, whose steps make all of it be planned anew.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::breaker::{Breaker, open_at, open_for};
use super::gate::Permit;
use super::record::{Record, Urgency};
use super::timing::{seconds_of_a_new_one, seconds_to_ask};
use super::{Dependency, Scheduler};
use crate::model::{
    CLOCK_TOLERANCE, CredentialId, Event, Level, Lifetime, Now, RenewalTask, Route, TaskKind,
};

/// A step of the wall clock of so many seconds is noticed.
const CLOCK_STEP: i64 = 5;

/// Wait of a look-up while others are to be asked first, in seconds.
const LOOK_UP_LATER: i64 = 60;

impl Scheduler {
    /// Decides what is asked for now. Each task comes with the right to do it.
    pub(crate) fn plan(&mut self, now: Now) -> (Vec<(RenewalTask, Permit)>, Vec<Event>) {
        let events = self.notice_clock(now);
        while let Some((due, id)) = self.queues.waiting.first().cloned()
            && due <= now.mono
        {
            self.queues.waiting.pop_first();
            self.change(&id, now, |_, _| ());
        }
        let mut tasks = self.probes(now);
        while let Some(task) = self.most_urgent(now) {
            tasks.push(self.start(task, None, now));
        }
        if tasks.is_empty() && self.all_known {
            tasks.extend(self.look_up(now));
        }
        (tasks, events)
    }

    /// The most urgent renewal that may be done now.
    fn most_urgent(&self, now: Now) -> Option<RenewalTask> {
        let mut best: Option<(&Urgency, &Record)> = None;
        // The most urgent first: once one is found that may be done, the others cost nothing.
        let mut ready: Vec<_> = self.queues.ready.iter().collect();
        ready.sort_unstable_by_key(|(_, queue)| queue.first());
        for (target, queue) in ready {
            let mut open = None;
            for (urgency, id) in queue {
                // While not all credentials are known, one that is still to be found may expire
                // earlier than those that are.
                let is_waited_for = matches!(urgency, Urgency::WaitedFor(_));
                let is_known = self.all_known || is_waited_for;
                if !is_known || best.is_some_and(|(best, _)| best <= urgency) {
                    break;
                }
                if !self.gate.has_room(id.user(), &target.0, now.mono) {
                    continue;
                }
                let open: &Vec<_> =
                    open.get_or_insert_with(|| open_at(&self.breakers, target).collect());
                let holds_all = |(dependency, breaker): &(Dependency, &Breaker)| {
                    breaker.suspects() > 1 && !(is_waited_for && is_issuer(dependency))
                };
                if open.iter().any(holds_all) {
                    break;
                }
                let Some(record) = self.records.get(id) else {
                    continue;
                };
                let holds = |(dependency, breaker): &(Dependency, &Breaker)| {
                    let may_pass = is_issuer(dependency) && record.is_untried();
                    !may_pass && breaker.open_for(id.user()).is_some()
                };
                if open.iter().any(holds) {
                    continue;
                }
                if self.gate.is_full(target) {
                    break;
                }
                let route = record.route();
                if route.is_some_and(|route| self.gate.admits(route, now.mono)) {
                    best = Some((urgency, record));
                    break;
                }
            }
        }
        best?.1.task(seconds_to_ask, self.rules.limits, now)
    }

    /// One probe for each open breaker whose time has come. A breaker that nobody can probe any more is
    /// closed.
    fn probes(&mut self, now: Now) -> Vec<(RenewalTask, Permit)> {
        let due = self.breakers.iter();
        let due = due.filter(|(_, breaker)| breaker.wants_probe(now.mono));
        let due: Vec<Dependency> = due.map(|(dependency, _)| dependency.clone()).collect();
        let mut tasks = Vec::new();
        for dependency in due {
            if !self.queues.proven.contains_key(&dependency) {
                self.breakers.remove(&dependency);
                continue;
            }
            let Some(task) = self.probe(&dependency, now) else {
                continue;
            };
            let breaker = self.breakers.get_mut(&dependency);
            let probe = breaker.and_then(|b| b.probe(&task.route.account));
            tasks.push(self.start(task, probe, now));
        }
        tasks
    }

    /// A request that finds out whether a host or issuer works: by a credential that worked before, of another account
    /// than the last time if there is one that the gate admits.
    fn probe(&self, dependency: &Dependency, now: Now) -> Option<RenewalTask> {
        let prober = self.breakers.get(dependency)?.open()?.prober.as_ref();
        let can_ask = |route: &Route| {
            // An issuer is not probed through a host that is down.
            let mut open = open_at(&self.breakers, &route.target());
            self.gate.admits(route, now.mono)
                && open.next().is_some_and(|(first, _)| first == *dependency)
        };
        let running = &self.queues.running;
        let idle = self.proven_at(dependency);
        let idle = idle.filter(|record| !running.contains(&record.top.id));
        let can_probe = idle.filter(|record| record.route().is_some_and(can_ask));
        let chosen = can_probe.min_by_key(|record| {
            let id = &record.top.id;
            (Some(id.user()) == prober, record.due, id)
        });
        let seconds = if is_issuer(dependency) {
            seconds_of_a_new_one
        } else {
            seconds_to_ask
        };
        chosen?.task(seconds, self.rules.limits, now)
    }

    /// The next look-up of a vault token's expiry: only when nothing else can be done now, and while no access token of
    /// the account waits for the room that it takes; others have their share. Those that are refused come to the end of
    /// the line, which each does once a minute at most.
    fn look_up(&mut self, now: Now) -> Option<(RenewalTask, Permit)> {
        let mut waiting: Option<BTreeSet<Arc<str>>> = None;
        while let Some((at, id)) = self.queues.look_ups.first().cloned()
            && at <= now.mono
        {
            let record = self.records.get(&id)?;
            let route = record.route()?;
            let waiting = waiting.get_or_insert_with(|| {
                let ids = self.waiting_for_room();
                ids.map(|id| id.user().clone()).collect()
            });
            let may_go = !waiting.contains(&route.account)
                && open_for(&self.breakers, route).is_none()
                && self.gate.admits(route, now.mono);
            if may_go {
                let kind = TaskKind::LookUp;
                let task = record.task(seconds_to_ask, self.rules.limits, now)?;
                return Some(self.start(RenewalTask { kind, ..task }, None, now));
            }
            let later = now.after(LOOK_UP_LATER);
            self.queues.look_ups.remove(&(at, id.clone()));
            if let Some(record) = self.records.get_mut(&id) {
                Arc::make_mut(record).look_up_at = Some(later);
            }
            self.queues.look_ups.insert((later, id));
        }
        None
    }

    /// Credentials that are due and that no circuit breaker holds up: they wait for room.
    pub(crate) fn waiting_for_room(&self) -> impl Iterator<Item = &CredentialId> {
        self.queues.ready.iter().flat_map(|(target, queue)| {
            let open: Vec<_> = open_at(&self.breakers, target).collect();
            let is_held = move |id: &CredentialId| {
                let mut open = open.iter();
                open.any(|(_, breaker)| breaker.open_for(id.user()).is_some())
            };
            let ids = queue.iter().map(|(_, id)| id);
            ids.filter(move |id| !is_held(id))
        })
    }

    fn start(
        &mut self,
        task: RenewalTask,
        probe: Option<Arc<()>>,
        now: Now,
    ) -> (RenewalTask, Permit) {
        let is_probe = probe.is_some();
        let task = RenewalTask { is_probe, ..task };
        self.queues.running.insert(task.id.clone());
        self.change(&task.id, now, |_, _| ());
        let permit = self.gate.enter(task.route.clone(), probe);
        (task, permit)
    }

    /// Time at which there is something to do, if nothing happens before.
    pub(crate) fn next_wake(&self, now: Now) -> Option<Instant> {
        let open = self.breakers.values().filter_map(|breaker| breaker.open());
        let probes = open.map(|open| open.retry_at);
        let look_up = self.queues.look_ups.first().map(|(at, _)| *at);
        let later = probes.chain(look_up).filter(|&at| at > now.mono);
        let due = self.queues.waiting.first().map(|(due, _)| *due);
        let room = self.gate.next_room(now.mono);
        let room = room.filter(|_| !self.queues.ready.is_empty());
        later.chain(due).chain(room).min()
    }

    /// Plans everything anew after the wall clock was stepped.
    fn notice_clock(&mut self, now: Now) -> Vec<Event> {
        let wall = self.last.until(now.wall);
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
    pub(super) fn check_clock(&mut self, user: &Arc<str>, fresh: Option<Lifetime>, now: Now) {
        match fresh.map(|lifetime| now.until(lifetime.issued)) {
            Some(ahead) if ahead > CLOCK_TOLERANCE => {
                self.ahead.insert(user.clone(), ahead);
            }
            _ => _ = self.ahead.remove(user),
        }
        let mut all: Vec<i64> = self.ahead.values().copied().collect();
        all.sort_unstable();
        let median = all.get(all.len() / 2);
        let median = median.filter(|_| !self.has_accounts(2 * all.len()));
        // In whole minutes: each other text is another problem, with lines in the log.
        self.clock_problem = median.map(|ahead| {
            format!(
                "this host's clock is behind: fresh access tokens were issued {} min from now",
                ahead.saturating_add(30) / 60
            )
        });
    }

    /// `true` when there are credentials of so many accounts at least.
    fn has_accounts(&self, number: usize) -> bool {
        let mut last = None;
        // They are in the order of their accounts.
        let mut users = self.records.keys().map(CredentialId::user);
        let mut others = std::iter::from_fn(|| {
            last = users.find(|&user| last != Some(user));
            last
        });
        others.nth(number - 1).is_some()
    }
}

/// `true` for an issuer at a host, `false` for the host.
fn is_issuer((_, issuer): &Dependency) -> bool {
    issuer.is_some()
}
