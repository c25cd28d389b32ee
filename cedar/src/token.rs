//! The access token that opens a daemon.

use std::fmt;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

/// An access token (of WLCG, or a `SciToken`) and its end.
///
/// It cannot be printed, and its memory is zeroed when it is dropped; so are the buffers of this
/// library that it passes through.
///
/// ```
/// use std::time::Duration;
/// use htcondor_cedar::AccessToken;
///
/// let token = AccessToken::new("eyJ…".to_owned(), Duration::from_secs(2400));
/// assert_eq!(format!("{token:?}"), "AccessToken(…)");
/// ```
#[derive(Clone)]
pub struct AccessToken {
    secret: SecretString,
    end: Instant,
}

impl AccessToken {
    /// A token that expires after `lifetime` from now (its `exp` claim less the present time).
    #[must_use]
    pub fn new(secret: String, lifetime: Duration) -> Self {
        let now = Instant::now();
        Self {
            secret: secret.into(),
            // One beyond all time opens no session.
            end: now.checked_add(lifetime).unwrap_or(now),
        }
    }

    pub(crate) fn expose(&self) -> &str {
        self.secret.expose_secret()
    }

    /// Latest end of a session that it opened.
    pub(crate) fn end(&self) -> Instant {
        self.end
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(…)")
    }
}
