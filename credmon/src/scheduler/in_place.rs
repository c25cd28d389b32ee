//! The access token in place, and how long it lives.
//!
//! Its expiry is bounded twice: by its claims and the wall clock, and by the monotonic time since it
//! was received. So a clock that is wrong or stepped stops no renewal.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::timing::TokenTimes;
use crate::model::{FileId, InUse, Lifetime, Now, State, TokenInfo};

/// A `.use` file and the token in it, as the scheduler sees it.
#[derive(Clone, Debug)]
pub(super) struct InPlace {
    pub(super) in_use: Option<InUse>,
    /// Time when the token was first seen, and the seconds that it had left then.
    received: (Instant, i64),
    /// It came from the present `.top`.
    pub(super) served: bool,
    /// Last time when a token was fetched, or confirmed to be the newest.
    pub(super) confirmed: Instant,
    /// The vault token's expiry was looked up since then: once is enough.
    pub(super) looked_up: bool,
}

impl InPlace {
    pub(super) fn new(in_use: Option<InUse>, served: bool, now: Now) -> Self {
        let mut in_place = Self {
            in_use: None,
            received: (now.mono, 0),
            served,
            confirmed: now.mono,
            looked_up: false,
        };
        in_place.receive(in_use, now);
        if let Some(token) = in_place.token() {
            let age = Duration::from_secs(now.until(token.written).min(0).unsigned_abs());
            in_place.confirmed = now.mono.checked_sub(age).unwrap_or(now.mono);
        }
        in_place
    }

    pub(super) fn token(&self) -> Option<&Arc<TokenInfo>> {
        self.in_use.as_ref()?.token()
    }

    pub(super) fn file(&self) -> Option<FileId> {
        self.in_use.as_ref().map(InUse::file)
    }

    fn lifetime(&self) -> Option<Lifetime> {
        self.token()?.lifetime
    }

    /// Another file is in place from now on.
    pub(super) fn receive(&mut self, in_use: Option<InUse>, now: Now) {
        self.in_use = in_use;
        self.received = (now.mono, 0);
        self.clock_stepped(now);
    }

    /// The wall clock was stepped: what the token had left when it was received is reckoned anew by
    /// the present clock. However wrong that is, no token lives longer than its length from there.
    pub(super) fn clock_stepped(&mut self, now: Now) {
        if let Some(lifetime) = self.lifetime() {
            let since = now.since(self.received.0);
            let left = now.until(lifetime.expires).saturating_add(since);
            self.received.1 = left.clamp(0, lifetime.length());
        }
    }

    /// Seconds until it expires, by the more careful of both clocks; `None` when there is none, or it
    /// does not say.
    pub(super) fn left(&self, now: Now) -> Option<i64> {
        let by_wall = now.until(self.lifetime()?.expires);
        let by_mono = self.received.1.saturating_sub(now.since(self.received.0));
        Some(by_wall.min(by_mono).max(0))
    }

    pub(super) fn has_expired(&self, now: Now) -> bool {
        self.left(now) == Some(0)
    }

    /// State of a credential that nothing hinders.
    pub(super) fn state(&self, now: Now) -> State {
        if self.served && !self.has_expired(now) {
            State::Fresh
        } else {
            State::Renewing
        }
    }

    pub(super) fn times(&self, now: Now) -> Option<TokenTimes> {
        let token = self.token()?;
        let lifetime = token.lifetime?;
        let length = lifetime.length();
        let expires = lifetime.expires.as_second();
        let at_receipt = expires.saturating_sub(token.written.as_second());
        Some(TokenTimes {
            length,
            left: self.left(now)?,
            at_receipt: at_receipt.clamp(0, length),
        })
    }

    /// Expiry by its claims; the far future for a token that does not say.
    pub(super) fn expires(&self) -> Timestamp {
        self.lifetime()
            .map_or(Timestamp::MAX, |lifetime| lifetime.expires)
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
        match (self.left(now), self.token()) {
            (Some(0), _) => "the access token in place is kept, though it has expired".to_owned(),
            (Some(left), _) => format!("the access token in place lives {left} s more"),
            (None, Some(_)) => "the access token in place is kept".to_owned(),
            (None, None) => "no access token is in place".to_owned(),
        }
    }
}
