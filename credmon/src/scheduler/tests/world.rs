//! A scheduler with what surrounds it: credentials, a clock, and Vaults that answer by rules.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::super::gate::Permit;
use super::super::*;
use super::consistency::assert_consistent;
use super::site::{Site, can_be, file, token_of};
use crate::model::fixtures::at;
use crate::model::{
    CredentialStatus, Failure, InUse, Limits, ObservedTop, TaskKind, TopProblem, TopStamp,
};

/// Wall-clock time at the beginning, in seconds since 1970.
pub(super) const START: i64 = 1_795_331_348;

/// Longest sleep of the daemon's loop, in seconds.
const TICK: i64 = 10;

pub(super) fn id(user: &str, service: &str) -> CredentialId {
    CredentialId::new(&user.into(), service).unwrap()
}

pub(super) fn u_cms() -> CredentialId {
    id("u", "cms")
}

/// The world in which that one is served.
pub(super) fn with_account() -> World {
    let mut world = World::of_life(90, 60);
    world.store("u", "cms");
    world.pass(10);
    world
}

/// A task under way.
pub(super) struct UnderWay {
    pub(super) task: RenewalTask,
    permit: Permit,
    ends: Instant,
    answer: (Outcome, u32),
}

/// A request that was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// Seconds since the beginning.
    pub(super) at: i64,
    pub(super) id: CredentialId,
    pub(super) host: Arc<str>,
    pub(super) is_look_up: bool,
    pub(super) requests: u32,
}

/// All of it.
pub(super) struct World {
    pub(super) scheduler: Scheduler,
    pub(super) gate: Gate,
    pub(super) site: Site,
    pub(super) now: Now,
    begin: Instant,
    /// Seconds by which this host's clock is ahead.
    wrong_by: i64,
    /// Seconds for which this host was suspended.
    slept: i64,
    pub(super) under_way: Vec<UnderWay>,
    pub(super) sent: Vec<Sent>,
    pub(super) events: Vec<Event>,
    versions: u64,
    checks: u64,
}

impl World {
    /// Without credentials, after the first scan.
    pub(super) fn new() -> Self {
        Self::with(Rules::default())
    }

    /// With tokens of so many seconds, and limits as a site with such tokens has.
    pub(super) fn of_life(life: i64, minimum: i64) -> Self {
        let limits = Limits {
            minimum,
            refresh: (minimum / 2).max(1),
        };
        let mut world = Self::with(Rules {
            limits,
            ..Rules::default()
        });
        world.site.life = life;
        world
    }

    pub(super) fn with(rules: Rules) -> Self {
        let now = Now {
            // Far from the beginning of the machine's time.
            mono: Instant::now() + Duration::from_secs(10_000_000),
            wall: at(START),
        };
        let gate = Gate::new(1024);
        let mut scheduler = Scheduler::new(
            Rules {
                hostname: "ap.test".to_owned(),
                ..rules
            },
            gate.clone(),
            now,
        );
        scheduler.scanned(now);
        Self {
            scheduler,
            gate,
            site: Site {
                life: 3600,
                ..Site::default()
            },
            now,
            begin: now.mono,
            wrong_by: 0,
            slept: 0,
            under_way: Vec::new(),
            sent: Vec::new(),
            events: Vec::new(),
            versions: 0,
            checks: 0,
        }
    }

    /// Seconds since the beginning.
    pub(super) fn elapsed(&self) -> i64 {
        self.now.since(self.begin)
    }

    /// The right time, in seconds since 1970.
    pub(super) fn right_second(&self) -> i64 {
        START + self.elapsed() + self.slept
    }

    /// Checks the scheduler; now and then where it has very many credentials.
    fn check(&mut self) {
        self.checks += 1;
        if self.scheduler.records.len() < 60 || self.checks.is_multiple_of(100) {
            assert_consistent(&self.scheduler);
        }
    }

    fn version(&mut self) -> u64 {
        self.versions += 1;
        self.versions
    }

    fn set_mono(&mut self, mono: Instant) {
        self.now.mono = mono;
        let elapsed = mono.saturating_duration_since(self.begin);
        let elapsed = SignedDuration::try_from(elapsed).unwrap();
        self.now.wall = at(START + self.wrong_by + self.slept) + elapsed;
    }

    /// Lets time pass without doing anything.
    pub(super) fn step_time(&mut self, seconds: i64) {
        self.set_mono(self.now.after(seconds));
    }

    /// Corrects this host's clock.
    pub(super) fn set_clock_right(&mut self) {
        self.step_clock(-self.wrong_by);
    }

    /// Suspends this host: its monotonic time stands still.
    pub(super) fn sleep(&mut self, seconds: i64) {
        self.slept += seconds;
        self.set_mono(self.now.mono);
    }

    /// Steps this host's clock.
    pub(super) fn step_clock(&mut self, seconds: i64) {
        self.wrong_by += seconds;
        self.set_mono(self.now.mono);
    }

    /// A `.top` is stored, by an account for an issuer at a host; no `.use`.
    pub(super) fn store_at(&mut self, user: &str, service: &str, host: &str, issuer: &str) {
        let own = file(self.version(), self.right_second());
        let id = id(user, service);
        let route = Route {
            account: id.user().clone(),
            host: host.into(),
            issuer: issuer.into(),
        };
        let in_use = self.scheduler.observed(&id).and_then(|known| known.in_use);
        let top = ObservedTop {
            id,
            stamp: TopStamp { own, parent: None },
            route: Ok(route),
        };
        self.observe(Observed {
            top: Arc::new(top),
            in_use,
        });
    }

    /// A `.top` is stored for the issuer `cms` at the Vault `a`.
    pub(super) fn store(&mut self, user: &str, service: &str) {
        self.store_at(user, service, "a", "cms");
    }

    /// Something else is observed of a credential that is known.
    pub(super) fn observe_other(&mut self, id: &CredentialId, change: impl FnOnce(&mut Observed)) {
        let mut observed = self.scheduler.observed(id).unwrap();
        change(&mut observed);
        self.observe(observed);
    }

    /// Another `.top` with this problem, or the old problem in another file, is observed.
    pub(super) fn spoil(&mut self, id: &CredentialId, problem: TopProblem) {
        let own = file(self.version(), self.right_second());
        self.observe_other(id, |observed| {
            let top = Arc::make_mut(&mut observed.top);
            top.stamp.own = own;
            top.route = Err(problem);
        });
    }

    /// Somebody puts another token in place, or takes it away.
    pub(super) fn put_token(&mut self, id: &CredentialId, token: Option<(i64, i64)>) {
        let version = self.version();
        let token = token.map(|(issued, expires)| token_of(issued, expires, version));
        self.observe_other(id, |observed| observed.in_use = token.map(InUse::Token));
    }

    pub(super) fn observe(&mut self, observed: Observed) {
        let events = self.scheduler.observe(observed, self.now);
        self.events.extend(events);
        self.check();
    }

    /// A credential is gone.
    pub(super) fn remove(&mut self, id: &CredentialId) {
        self.scheduler.gone(id);
        self.check();
    }

    /// Starts what is planned.
    pub(super) fn plan(&mut self) -> usize {
        let (tasks, events) = self.scheduler.plan(self.now);
        self.events.extend(events);
        self.check();
        let count = tasks.len();
        for (task, permit) in tasks {
            let is_known = self.under_way.iter().any(|other| other.task.id == task.id);
            assert!(!is_known, "{} has one task at most", task.id);
            let (second, version) = (self.right_second(), self.version());
            let answer = self.site.answer(&task, second, version);
            let latency = self.site.latency.get(&*task.route.host).copied();
            let millis = latency.map_or(20, |seconds| seconds.unsigned_abs() * 1000);
            self.sent.push(Sent {
                at: self.elapsed(),
                id: task.id.clone(),
                host: task.route.host.clone(),
                is_look_up: matches!(task.kind, TaskKind::LookUp),
                requests: answer.1,
            });
            self.under_way.push(UnderWay {
                task,
                permit,
                ends: self.now.mono + Duration::from_millis(millis),
                answer,
            });
        }
        count
    }

    /// Ends a task with the site's answer, or with another outcome.
    pub(super) fn end(&mut self, place: usize, outcome: Option<Outcome>) {
        let ended = self.under_way.remove(place);
        let (answer, requests) = ended.answer;
        ended.permit.finish(requests, self.now.mono);
        let outcome = outcome.filter(|outcome| can_be(outcome, &ended.task));
        self.report(&ended.task, outcome.unwrap_or(answer));
    }

    /// A task panics: its permit is dropped, and the daemon reports an error of this host.
    pub(super) fn panic(&mut self, place: usize) {
        let ended = self.under_way.remove(place);
        drop(ended.permit);
        let failure = Failure::local("a renewal broke off".to_owned(), "");
        self.report(&ended.task, Outcome::Failed(failure));
    }

    fn report(&mut self, task: &RenewalTask, outcome: Outcome) {
        let events = self.scheduler.report(task, outcome, self.now);
        self.events.extend(events);
        self.check();
    }

    /// Lets time pass, with all that is planned meanwhile.
    pub(super) fn pass(&mut self, seconds: i64) {
        let until = self.now.after(seconds);
        self.pass_until(until, |_| ());
    }

    /// The same; something is checked each time when the loop wakes.
    pub(super) fn pass_with(&mut self, seconds: i64, check: impl FnMut(&mut Self)) {
        let until = self.now.after(seconds);
        self.pass_until(until, check);
    }

    fn pass_until(&mut self, until: Instant, mut check: impl FnMut(&mut Self)) {
        let mut rounds_in_a_moment = 0;
        loop {
            self.plan();
            check(self);
            let next_end = self.under_way.iter().map(|task| task.ends).min();
            let wake = [self.scheduler.next_wake(self.now), next_end];
            let wake = wake.into_iter().flatten().min();
            let tick = self.now.after(TICK);
            let wake = wake.map_or(tick, |wake| wake.min(tick));
            if wake > until {
                self.set_mono(until);
                return;
            }
            rounds_in_a_moment += 1;
            if wake > self.now.mono {
                rounds_in_a_moment = 0;
            }
            let queues = || {
                (
                    &self.scheduler.queues.waiting,
                    &self.scheduler.queues.look_ups,
                )
            };
            assert!(rounds_in_a_moment < 1000, "it never sleeps: {:?}", queues());
            self.set_mono(wake.max(self.now.mono));
            while let Some(place) = self.under_way.iter().position(|t| t.ends <= wake) {
                self.end(place, None);
            }
        }
    }

    pub(super) fn record(&self, user: &str, service: &str) -> &Record {
        &self.scheduler.records[&id(user, service)]
    }

    pub(super) fn status(&self, user: &str, service: &str) -> CredentialStatus {
        let is_it =
            |status: &CredentialStatus| (&*status.user, &*status.service) == (user, service);
        let statuses = self.scheduler.statuses(self.now);
        statuses.iter().find(is_it).unwrap()
    }

    /// Seconds that a credential's token lives, by the right clock.
    pub(super) fn left(&self, user: &str, service: &str) -> i64 {
        let token = self.record(user, service).in_place.token();
        let lifetime = token.and_then(|token| token.lifetime);
        let expires = lifetime.map_or(Timestamp::MIN, |lifetime| lifetime.expires);
        expires.as_second().saturating_sub(self.right_second())
    }

    /// Requests of an account since some second.
    pub(super) fn sent_by(&self, user: &str, since: i64) -> usize {
        let is_its = |sent: &&Sent| &**sent.id.user() == user && sent.at >= since;
        self.sent.iter().filter(is_its).count()
    }

    /// The breaker of a host, or of an issuer at one.
    pub(super) fn is_open(&self, host: &str, issuer: Option<&str>) -> bool {
        let dependency = (host.into(), issuer.map(Into::into));
        let breaker = self.scheduler.breakers.get(&dependency);
        breaker.is_some_and(|breaker| breaker.open().is_some())
    }
}
