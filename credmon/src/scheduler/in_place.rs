//! The access token in place, and how long it lives.
//!
//! Its expiry is bounded twice: by its claims and the wall clock, and by the monotonic time since it
//! was received. So a clock that is wrong or stepped stops no renewal.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::timing::TokenTimes;
use crate::model::{Now, Observed, TokenInfo};

/// Seconds by which a token may seem to come from the future: clocks of a site differ a little.
const CLOCK_TOLERANCE: i64 = 60;

/// The token in a `.use` file, as the scheduler sees it.
#[derive(Debug)]
pub(super) struct InPlace {
    pub(super) token: Option<Arc<TokenInfo>>,
    /// Time when it was first seen, and the seconds that it had left then.
    received: (Instant, i64),
    /// It came from the present `.top`.
    pub(super) served: bool,
    /// Last time when a token was fetched, or confirmed to be the newest.
    pub(super) confirmed: Instant,
}

impl InPlace {
    pub(super) fn new(observed: &Observed, now: Now) -> Self {
        let mut in_place = Self {
            token: None,
            received: (now.mono, 0),
            served: false,
            confirmed: now.mono,
        };
        if let Some(token) = &observed.token {
            let age = now
                .wall
                .as_second()
                .saturating_sub(token.written.as_second())
                .max(0);
            let age = Duration::from_secs(age.unsigned_abs());
            in_place.confirmed = now.mono.checked_sub(age).unwrap_or(now.mono);
        }
        in_place.receive(observed.token.clone(), now);
        in_place
    }

    /// Another token is in place from now on.
    pub(super) fn receive(&mut self, token: Option<Arc<TokenInfo>>, now: Now) {
        let lifetime = token.as_ref().and_then(|token| token.lifetime);
        let left = lifetime.map_or(0, |lifetime| {
            let left = lifetime
                .expires
                .as_second()
                .saturating_sub(now.wall.as_second());
            left.min(lifetime.length()).max(0)
        });
        self.received = (now.mono, left);
        self.token = token;
    }

    /// The wall clock was stepped: what the token had left when it was received is reckoned anew by
    /// the present clock. However wrong that is, no token lives longer than its length from there.
    pub(super) fn clock_stepped(&mut self, now: Now) {
        if let Some(lifetime) = self.token.as_ref().and_then(|token| token.lifetime) {
            let by_wall = lifetime
                .expires
                .as_second()
                .saturating_sub(now.wall.as_second())
                .saturating_add(now.since(self.received.0));
            self.received.1 = by_wall.min(lifetime.length()).max(0);
        }
    }

    /// Seconds until it expires, by the more careful of both clocks; `None` when there is none, or it
    /// does not say.
    pub(super) fn left(&self, now: Now) -> Option<i64> {
        let lifetime = self.token.as_ref()?.lifetime?;
        let by_wall = lifetime
            .expires
            .as_second()
            .saturating_sub(now.wall.as_second());
        let by_mono = self.received.1.saturating_sub(now.since(self.received.0));
        Some(by_wall.min(by_mono).max(0))
    }

    pub(super) fn has_expired(&self, now: Now) -> bool {
        self.left(now) == Some(0)
    }

    pub(super) fn times(&self, now: Now) -> Option<TokenTimes> {
        let length = self.token.as_ref()?.lifetime?.length();
        Some(TokenTimes {
            length,
            left: self.left(now)?,
        })
    }

    /// Expiry by its claims; the far future for a token that does not say.
    pub(super) fn expires(&self) -> Timestamp {
        let lifetime = self.token.as_ref().and_then(|token| token.lifetime);
        lifetime.map_or(Timestamp::MAX, |lifetime| lifetime.expires)
    }

    /// Seconds by which it seems to come from the future, when they are too many.
    pub(super) fn ahead(&self, now: Now) -> Option<i64> {
        let issued = self.token.as_ref()?.lifetime?.issued.as_second();
        Some(issued.saturating_sub(now.wall.as_second())).filter(|&ahead| ahead > CLOCK_TOLERANCE)
    }

    /// Its expiry, for a line in the log.
    pub(super) fn expiry_text(&self, now: Now) -> String {
        self.left(now).map_or_else(
            || "lives for a time that it does not say".to_owned(),
            |left| format!("lives until {} ({left} s)", self.expires()),
        )
    }

    /// Remaining lifetime while the credential fails, for a line in the log.
    pub(super) fn remaining_text(&self, now: Now) -> String {
        match (self.left(now), &self.token) {
            (Some(0), _) => "the access token in place is kept, though it has expired".to_owned(),
            (Some(left), _) => format!("the access token in place lives {left} s more"),
            (None, Some(_)) => "the access token in place is kept".to_owned(),
            (None, None) => "no access token is in place".to_owned(),
        }
    }
}
