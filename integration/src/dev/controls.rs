//! What is wrong with the server at present, for all its parts to look at: faults, quota, LDAP,
//! clocks, the issuer's silence.
//!
//! What always holds: a request that hangs is let go as soon as its fault is cleared; while nothing
//! is wrong, a request pays for one look at a flag.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use htvault::clock::Clock;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::sleep;

use super::answers::Answer;
use super::faults::{At, Board, Effect, Fault, Rule, Verdict};
use super::filler::Filler;
use super::listener::Dropped;
use super::quota::{Counter, Quota};
use super::shifted_clock::ShiftedClock;

/// What the server is started with, and what a reset of the quota returns to.
#[derive(Clone, Debug, Default)]
pub struct Troubles {
    /// Faults that are on from the start.
    pub faults: Vec<Fault>,
    /// How much a client may ask of each node.
    pub quota: Option<Quota>,
    /// Whether a 429 says when to come back, which the real server does not.
    pub retry_after: bool,
    /// How far the clock of the Vault half is ahead.
    pub vault_clock: SignedDuration,
    /// How far the issuer's clock is ahead.
    pub issuer_clock: SignedDuration,
}

/// All that can be wrong.
pub struct Controls {
    started_with: Troubles,
    board: Mutex<Board>,
    calm: AtomicBool,
    /// Counts what was cleared; whoever hangs looks again.
    cleared: watch::Sender<u64>,
    quota: RwLock<Option<Quota>>,
    retry_after: AtomicBool,
    ldap_is_down: AtomicBool,
    issuer_hangs: AtomicBool,
    /// The clock of the Vault half.
    pub vault_clock: Arc<ShiftedClock>,
    /// The issuer's clock.
    pub issuer_clock: Arc<ShiftedClock>,
}

impl Controls {
    /// As the server is started.
    #[must_use]
    pub fn new(started_with: Troubles, clock: &Arc<dyn Clock>) -> Self {
        let ahead = |shift| {
            let clock = ShiftedClock::new(Arc::clone(clock));
            clock.set_shift(shift);
            Arc::new(clock)
        };
        let controls = Self {
            board: Mutex::default(),
            calm: AtomicBool::new(true),
            cleared: watch::Sender::new(0),
            quota: RwLock::new(started_with.quota),
            retry_after: AtomicBool::new(started_with.retry_after),
            ldap_is_down: AtomicBool::new(false),
            issuer_hangs: AtomicBool::new(false),
            vault_clock: ahead(started_with.vault_clock),
            issuer_clock: ahead(started_with.issuer_clock),
            started_with,
        };
        for fault in &controls.started_with.faults {
            controls.add(fault.clone());
        }
        controls
    }

    fn board<R>(&self, work: impl FnOnce(&mut Board) -> R) -> R {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut board);
        let calm = board.rules().is_empty() && !self.issuer_hangs();
        self.calm.store(calm, Ordering::Release);
        result
    }

    fn say_cleared(&self) {
        self.cleared
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Adds a fault; gives the number it is cleared by.
    pub fn add(&self, fault: Fault) -> u64 {
        self.board(|board| board.add(fault))
    }

    /// Clears a fault; says whether there was one.
    pub fn clear(&self, id: u64) -> bool {
        let was_there = self.board(|board| board.clear(id));
        self.say_cleared();
        was_there
    }

    /// The faults that are on.
    #[must_use]
    pub fn faults(&self) -> Vec<Rule> {
        self.board(|board| board.rules().to_vec())
    }

    /// Everything is well again, and the quota is that of the start.
    pub fn reset(&self) {
        self.issuer_hangs.store(false, Ordering::Relaxed);
        self.board(Board::clear_all);
        self.set_quota(self.started_with.quota);
        self.set_retry_after(self.started_with.retry_after);
        self.set_ldap_down(false);
        self.vault_clock.set_shift(SignedDuration::ZERO);
        self.issuer_clock.set_shift(SignedDuration::ZERO);
        self.say_cleared();
    }

    /// Sets or lifts the quota.
    pub fn set_quota(&self, quota: Option<Quota>) {
        *self.quota.write().unwrap_or_else(PoisonError::into_inner) = quota;
    }

    /// The quota of each node.
    #[must_use]
    pub fn quota(&self) -> Option<Quota> {
        *self.quota.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a 429 says when to come back.
    pub fn set_retry_after(&self, says: bool) {
        self.retry_after.store(says, Ordering::Relaxed);
    }

    /// Whether a 429 says when to come back.
    #[must_use]
    pub fn retry_after(&self) -> bool {
        self.retry_after.load(Ordering::Relaxed)
    }

    /// Takes LDAP down: logins fail with 500, tokens that live go on working.
    pub fn set_ldap_down(&self, down: bool) {
        self.ldap_is_down.store(down, Ordering::Relaxed);
    }

    /// Whether LDAP is down.
    #[must_use]
    pub fn ldap_is_down(&self) -> bool {
        self.ldap_is_down.load(Ordering::Relaxed)
    }

    /// Makes the issuer take requests and answer none.
    pub fn set_issuer_hangs(&self, hangs: bool) {
        self.issuer_hangs.store(hangs, Ordering::Relaxed);
        self.board(|_| ());
        self.say_cleared();
    }

    /// Whether the issuer takes requests and answers none.
    #[must_use]
    pub fn issuer_hangs(&self) -> bool {
        self.issuer_hangs.load(Ordering::Relaxed)
    }

    /// What a request gets in place of its answer, after the delay that it meets; none when it is
    /// to be answered.
    pub async fn interfere(&self, at: At, path: &str) -> Option<Response> {
        if self.calm.load(Ordering::Acquire) {
            return None;
        }
        let Verdict { delay, end } = self.board(|board| board.judge(at, path));
        if !delay.is_zero() {
            sleep(delay).await;
        }
        if at == At::Issuer && self.issuer_hangs() {
            self.hang_while(Self::issuer_hangs).await;
            return Some(dropped());
        }
        let (id, effect) = end?;
        match effect {
            Effect::Latency(_) => None,
            Effect::Drop => Some(dropped()),
            Effect::Hang => {
                let is_on = |controls: &Self| {
                    controls.board(|board| board.rules().iter().any(|rule| rule.id == id))
                };
                self.hang_while(is_on).await;
                Some(dropped())
            }
            Effect::Status(status) => {
                let words = status.canonical_reason().unwrap_or("error").to_lowercase();
                Some(Answer::error(status, &words).into_response())
            }
            Effect::Garbage => Some(json_like(Bytes::from_static(GARBAGE).into())),
            Effect::Oversized(bytes) => Some(json_like(Body::new(Filler::new(bytes)))),
        }
    }

    async fn hang_while(&self, is_on: impl Fn(&Self) -> bool) {
        let mut cleared = self.cleared.subscribe();
        while is_on(self) {
            if cleared.changed().await.is_err() {
                return;
            }
        }
    }

    /// Counts a request against the quota, if there is one; the error is the answer.
    pub fn admit(
        &self,
        counter: &Mutex<Counter>,
        client: Option<IpAddr>,
        path: &str,
        now: Timestamp,
    ) -> Result<(), Answer> {
        let (Some(quota), Some(client)) = (self.quota(), client) else {
            return Ok(());
        };
        let admitted = counter
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .admit(&quota, client, now);
        admitted.map_err(|until| {
            let words = format!("request path {path:?}: rate limit quota exceeded");
            let answer = Answer::error(StatusCode::TOO_MANY_REQUESTS, &words);
            if !self.retry_after() {
                return answer;
            }
            let seconds = now.duration_until(until).as_secs().saturating_add(1);
            answer.retry_after(u64::try_from(seconds).unwrap_or(1))
        })
    }
}

/// Half a page, as a proxy in trouble sends it; not even UTF-8.
const GARBAGE: &[u8] = b"<html><head><title>502 Bad Gateway</title></head>\xff\xfe{\"data\":";

fn json_like(body: Body) -> Response {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// No answer: the listener closes the connection.
fn dropped() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response.extensions_mut().insert(Dropped);
    response
}
