//! What is told to whoever asks how credentials are doing: the words of the status file and of
//! `status --json`, and the answer to "may I submit jobs that use this token now?".
//!
//! The names of fields stay as they are; new ones may come ([`VERSION`] counts other changes). No
//! field holds a secret: of tokens there are times, `jti`, issuer and scopes. Pure: the time is
//! passed in.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::old::state::State;

/// Version of the fields.
pub const VERSION: u32 = 1;

/// Age from which on a status tells that its writer is gone, in seconds: it is written each minute.
const STALE: i64 = 180;

/// The daemon itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// Program and its version.
    pub program: String,
    /// Its process id.
    pub process: u32,
    /// Whether it runs: it says so itself, and says otherwise when it ends.
    pub running: bool,
    /// When this was written.
    pub written: Timestamp,
    /// The credential directory.
    pub directory: Option<String>,
    /// Why the directory cannot be served, if so.
    pub problem: Option<String>,
    /// Vaults that do not answer now.
    pub troubled_vaults: Vec<VaultStatus>,
    /// How many credentials follow.
    pub count: usize,
}

/// A Vault that does not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultStatus {
    /// Its host.
    pub host: String,
    /// Until when it is left in peace.
    pub rests_until: Option<Timestamp>,
    /// What is wrong.
    pub why: String,
}

/// A credential. The daemon tells of thousands at a time, so its texts may be borrowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(
    serialize = "T: AsRef<str> + Serialize",
    deserialize = "T: From<String> + Deserialize<'de>"
))]
pub struct CredentialStatus<T = String> {
    /// The account.
    pub user: T,
    /// The service.
    pub service: T,
    /// How it is doing.
    pub state: State,
    /// Since when.
    pub since: Timestamp,
    /// Why; empty when there is nothing to say.
    pub why: T,
    /// What a person should do; empty when there is nothing to do.
    pub advice: T,
    /// Host of its Vault.
    pub vault: Option<T>,
    /// The access token in place.
    pub access_token: Option<AccessTokenStatus<T>>,
    /// The vault token, as far as it is known.
    pub vault_token: Option<VaultTokenStatus>,
    /// When the access token was got, or found to be the newest.
    pub last_success: Option<Timestamp>,
    /// When it is renewed next.
    pub next_renewal: Option<Timestamp>,
    /// What failed last, even if it has been well since.
    pub last_error: Option<LastError<T>>,
}

/// An access token, without the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(
    serialize = "T: AsRef<str> + Serialize",
    deserialize = "T: From<String> + Deserialize<'de>"
))]
pub struct AccessTokenStatus<T = String> {
    /// When it was issued.
    pub issued: Option<Timestamp>,
    /// When it ends; `None` for one that does not say.
    pub expires: Option<Timestamp>,
    /// `jti`.
    pub id: Option<T>,
    /// `iss`.
    pub issuer: Option<T>,
    /// `scope`, told as a list.
    pub scopes: Scopes<T>,
}

/// What an access token allows, separated by blanks; in JSON a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes<T>(pub T);

impl<T: AsRef<str>> Serialize for Scopes<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.as_ref().split(' ').filter(|scope| !scope.is_empty()))
    }
}

impl<'de, T: From<String>> Deserialize<'de> for Scopes<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let scopes = Vec::<String>::deserialize(from)?;
        Ok(Self(scopes.join(" ").into()))
    }
}

/// A vault token, without the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultTokenStatus {
    /// When it ends; `None` for one without end.
    pub expires: Option<Timestamp>,
}

/// What failed last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError<T = String> {
    /// When.
    pub at: Timestamp,
    /// What.
    pub text: T,
}

/// Everything that a status tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The daemon.
    #[serde(flatten)]
    pub daemon: DaemonStatus,
    /// The answer: whether all that was asked for can be used.
    pub good: bool,
    /// Why not, as far as it concerns the daemon or what was asked for.
    pub complaints: Vec<String>,
    /// The credentials that were asked for.
    pub credentials: Vec<Judged>,
}

/// A credential with the answer for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// The credential.
    #[serde(flatten)]
    pub credential: CredentialStatus,
    /// Seconds that the access token has left; `None` when there is none or it does not say.
    pub access_token_left: Option<i64>,
    /// Seconds that the vault token has left.
    pub vault_token_left: Option<i64>,
    /// Whether jobs may be submitted that use it.
    pub usable: bool,
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Of this account only.
    pub user: Option<String>,
    /// Of this service only.
    pub service: Option<String>,
    /// Seconds that an access token must have left.
    pub min_life: i64,
}

impl Question {
    /// Whether a credential is asked for. Those of other monitors are, too, when named.
    #[must_use]
    pub fn is_about(&self, credential: &CredentialStatus) -> bool {
        let is = |asked: &Option<String>, name: &str| asked.as_ref().is_none_or(|a| a == name);
        is(&self.user, &credential.user) && is(&self.service, &credential.service)
    }

    /// The answer for one credential: its token lives long enough, and it is not one that nobody
    /// will renew.
    fn judge(&self, credential: CredentialStatus, now: Timestamp) -> Judged {
        let left = |end: Timestamp| end.as_second().saturating_sub(now.as_second()).max(0);
        let access_token = credential.access_token.as_ref();
        let access_token_left = access_token.and_then(|token| token.expires).map(left);
        let vault_token = credential.vault_token.as_ref();
        let lives = match access_token_left {
            Some(left) => left > 0 && left >= self.min_life,
            // One that does not say when it ends is taken to live while it is renewed.
            None => access_token.is_some(),
        };
        Judged {
            access_token_left,
            vault_token_left: vault_token.and_then(|token| token.expires).map(left),
            usable: lives && !matches!(credential.state, State::Dead | State::Ignored),
            credential,
        }
    }

    /// The answer.
    #[must_use]
    pub fn answer(
        &self,
        daemon: DaemonStatus,
        credentials: impl IntoIterator<Item = CredentialStatus>,
        now: Timestamp,
    ) -> Report {
        let mut complaints = Vec::new();
        let age = now.as_second().saturating_sub(daemon.written.as_second());
        if !daemon.running {
            complaints.push(format!(
                "the credential monitor is not running; it ended at {:.0}",
                daemon.written
            ));
        } else if age > STALE {
            complaints.push(format!(
                "the credential monitor does not seem to run: it told its status {age} s ago"
            ));
        }
        if let Some(problem) = &daemon.problem {
            complaints.push(problem.clone());
        }
        let asked = credentials.into_iter().filter(|c| self.is_about(c));
        let judged: Vec<Judged> = asked.map(|c| self.judge(c, now)).collect();
        let named = self.user.is_some() || self.service.is_some();
        if judged.is_empty() && named {
            complaints.push("there is no such credential here".to_owned());
        }
        let fine = |j: &Judged| j.usable || (j.credential.state == State::Ignored && !named);
        Report {
            good: complaints.is_empty() && judged.iter().all(fine),
            daemon,
            complaints,
            credentials: judged,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    pub(crate) fn daemon() -> DaemonStatus {
        DaemonStatus {
            version: VERSION,
            program: "x".to_owned(),
            process: 1,
            running: true,
            written: at(1000),
            directory: Some("/c".to_owned()),
            problem: None,
            troubled_vaults: Vec::new(),
            count: 1,
        }
    }

    pub(crate) fn credential(user: &str, state: State, expires: i64) -> CredentialStatus {
        CredentialStatus {
            user: user.to_owned(),
            service: "cms".to_owned(),
            state,
            since: at(0),
            why: String::new(),
            advice: String::new(),
            vault: Some("vault.test".to_owned()),
            access_token: Some(AccessTokenStatus {
                issued: Some(at(0)),
                expires: Some(at(expires)),
                id: Some("id-1".to_owned()),
                issuer: None,
                scopes: Scopes("storage.read:/ openid".to_owned()),
            }),
            vault_token: Some(VaultTokenStatus {
                expires: Some(at(90_000)),
            }),
            last_success: Some(at(0)),
            next_renewal: Some(at(1200)),
            last_error: None,
        }
    }

    fn good(question: &Question, credentials: Vec<CredentialStatus>) -> bool {
        question.answer(daemon(), credentials, at(1000)).good
    }

    #[test]
    fn a_token_must_live_as_long_as_asked_and_be_renewed() {
        let now = Question::default();
        let later = Question {
            min_life: 1200,
            ..Question::default()
        };
        for (state, expires, is_good_now, is_good_later) in [
            (State::Fresh, 3600, true, true),
            (State::Renewing, 3600, true, true),
            (State::Degraded, 3600, true, true),
            (State::Degraded, 2199, true, false),
            (State::Fresh, 1000, false, false),
            (State::Dead, 3600, false, false),
        ] {
            let one = || vec![credential("u", state, expires)];
            assert_eq!(good(&now, one()), is_good_now, "{state} {expires}");
            assert_eq!(good(&later, one()), is_good_later, "{state} {expires}");
        }
        let mut none = credential("u", State::Renewing, 3600);
        none.access_token = None;
        assert!(!good(&now, vec![none]));
    }

    #[test]
    fn only_what_is_asked_for_counts() {
        let all = || {
            vec![
                credential("a", State::Fresh, 3600),
                credential("b", State::Dead, 3600),
                credential("c", State::Ignored, 3600),
            ]
        };
        let about = |user: &str| Question {
            user: Some(user.to_owned()),
            ..Question::default()
        };
        assert!(good(&about("a"), all()));
        assert!(!good(&about("b"), all()));
        assert!(!good(&about("c"), all()), "its monitor answers for it");
        assert!(!good(&about("d"), all()), "there is none");
        assert!(!good(&Question::default(), all()));
        assert!(good(&Question::default(), Vec::new()));
        let without_b = all().into_iter().filter(|c| c.user != "b").collect();
        assert!(good(&Question::default(), without_b));
    }

    #[test]
    fn a_daemon_that_ended_or_hangs_is_said() {
        let one = || vec![credential("a", State::Fresh, 99_999)];
        let ended = DaemonStatus {
            running: false,
            ..daemon()
        };
        let report = Question::default().answer(ended, one(), at(1001));
        assert!(!report.good && report.complaints[0].contains("not running"));
        let report = Question::default().answer(daemon(), one(), at(1181));
        assert!(!report.good && report.complaints[0].contains("does not seem to run"));
        assert!(report.credentials[0].usable);
        assert!(Question::default().answer(daemon(), one(), at(1180)).good);
    }

    #[test]
    fn the_json_is_the_one_that_is_documented() {
        let report =
            Question::default().answer(daemon(), [credential("a", State::Fresh, 3600)], at(1000));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "version": 1, "program": "x", "process": 1, "running": true,
                "written": "1970-01-01T00:16:40Z", "directory": "/c", "problem": null,
                "troubled_vaults": [], "count": 1, "good": true, "complaints": [],
                "credentials": [{
                    "user": "a", "service": "cms", "state": "fresh",
                    "since": "1970-01-01T00:00:00Z", "why": "", "advice": "",
                    "vault": "vault.test",
                    "access_token": {
                        "issued": "1970-01-01T00:00:00Z", "expires": "1970-01-01T01:00:00Z",
                        "id": "id-1", "issuer": null, "scopes": ["storage.read:/", "openid"],
                    },
                    "vault_token": {"expires": "1970-01-02T01:00:00Z"},
                    "last_success": "1970-01-01T00:00:00Z",
                    "next_renewal": "1970-01-01T00:20:00Z",
                    "last_error": null,
                    "access_token_left": 2600, "vault_token_left": 89000, "usable": true,
                }],
            })
        );
    }
}
