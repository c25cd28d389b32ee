//! A session: what a daemon and we remember of an authentication, to do without it next time.
//!
//! What always holds: it ends with the token that opened it, though the daemon would go on; it is
//! used for commands only that the daemon named; its id and key cannot be printed.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use crate::classad::Ad;
use crate::crypto::SessionKey;
use crate::text::printable;

/// A session that can be resumed.
pub(crate) struct Session {
    id: SecretString,
    key: SessionKey,
    commands: Vec<i64>,
    user: String,
    version: String,
    end: Instant,
}

impl Session {
    /// The session of a verdict; `answer` is the daemon's ad of the negotiation before.
    pub(crate) fn new(verdict: &Ad, key: SessionKey, answer: &Ad, end: Instant) -> Self {
        let text = |ad: &Ad, name| ad.string(name).unwrap_or_default().to_owned();
        let commands = text(verdict, "ValidCommands");
        Self {
            id: text(verdict, "Sid").into(),
            key,
            commands: commands
                .split(',')
                .filter_map(|number| number.trim().parse().ok())
                .collect(),
            user: printable(&text(verdict, "User")),
            version: printable(&text(answer, "RemoteVersion")),
            end,
        }
    }

    /// True when it can be resumed for a command.
    pub(crate) fn serves(&self, command: i64, now: Instant) -> bool {
        now < self.end && self.commands.contains(&command) && !self.id().is_empty()
    }

    pub(crate) fn id(&self) -> &str {
        self.id.expose_secret()
    }

    pub(crate) fn key(&self) -> &SessionKey {
        &self.key
    }

    /// Account that the daemon takes the bearer for: `account@domain`. One printable line, as the version is.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// The daemon's version, as it says: `$CondorVersion: 25.14.1 … $`.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::KeyPair;

    #[test]
    fn names_that_a_daemon_gives_are_one_printable_line() {
        let (mut verdict, mut answer) = (Ad::new(), Ad::new());
        verdict.set("User", "a\u{1b}[2J\n@ap.test");
        answer.set("RemoteVersion", "x".repeat(100_000));
        let [ours, theirs] = [(); 2].map(|()| KeyPair::generate().unwrap());
        let key = ours.agree(theirs.public()).unwrap();
        let session = Session::new(&verdict, key, &answer, Instant::now());
        assert_eq!(session.user(), r"a\u{1b}[2J @ap.test");
        assert!(session.version().len() < 1000);
    }
}
