//! What HTCondor's `condor_store_cred` prints, read, and turned into advice. Pure.
//!
//! The texts are those seen from HTCondor 25.14.1; see `docs/bastion.md` for what each means.

use jiff::Timestamp;

use super::Observed;
use crate::problem::Kind;

/// What one run of the tool said.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    pub(super) success: bool,
    pub(super) stdout: String,
    /// With `-d` and `D_SECURITY`: the reasons.
    pub(super) stderr: String,
}

impl Said {
    /// The credd's answer about one service; `None` when it is none.
    pub(super) fn observed(&self, service: &str) -> Option<Observed> {
        if self.is_nothing_there() {
            return Some(Observed::default());
        }
        self.success.then(|| Observed {
            stored: self.time(&format!("{service}.top")),
            served: self.time(&format!("{service}.use")),
            serves_until: None,
            content: None,
        })
    }

    /// The credd has nothing stored.
    pub(super) fn is_nothing_there(&self) -> bool {
        self.stdout.contains("No credential is stored")
    }

    fn time(&self, key: &str) -> Option<Timestamp> {
        Timestamp::from_second(self.value(key)?.parse().ok()?).ok()
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.stdout
            .lines()
            .filter_map(|line| line.split_once(" = "))
            .find(|(name, _)| name.trim() == key)
            .map(|(_, value)| value.trim().trim_matches('"'))
    }

    /// For whom the credd answered: `account@domain`.
    pub(super) fn user(&self) -> Option<&str> {
        self.value("fully_qualified_user")
    }

    /// Why it failed, and what to do.
    pub(super) fn failure(&self, account: &str) -> (Kind, String) {
        let both = || self.stderr.lines().chain(self.stdout.lines());
        let find = |part: &str| both().find(|line| line.contains(part)).map(words);
        let told = |kind, what: String, advice: &str| (kind, format!("{what}; {advice}"));
        if let Some(what) = find("Received \"DENIED\"") {
            return told(
                Kind::CreddRefused,
                what,
                "the access token needs a scope that may write: condor:/WRITE, or compute.create \
                 with compute.modify, compute.cancel and compute.read; name a credential that has it in `authorize_with`",
            );
        }
        if let Some(what) = find("Can't find address").or_else(|| find("communication error")) {
            return told(
                Kind::CreddDown,
                what,
                "check the host's name, that its credd runs, and the collector; it is tried again",
            );
        }
        if let Some(what) = find("attempt to connect to").or_else(|| find("Failed to connect to")) {
            return told(
                Kind::CreddDown,
                what,
                "check that the credd runs and the network; it is tried again",
            );
        }
        if let Some(what) =
            find("certificate verify failed").or_else(|| find("self-signed certificate"))
        {
            return told(
                Kind::CreddRefused,
                what,
                "the credd's host certificate is not trusted here: set AUTH_SSL_CLIENT_CAFILE or \
                 AUTH_SSL_CLIENT_CADIR in this host's HTCondor configuration",
            );
        }
        if let Some(what) = find("Server has rejected our token") {
            return (
                Kind::CreddRefused,
                format!(
                    "{what}; see the CredLog at the schedd: its map file needs a line \
                     `SCITOKENS ISSUER,SUBJECT {account}`, SCITOKENS_SERVER_AUDIENCE must \
                     allow the token's audience, and the issuer's keys must be known to it"
                ),
            );
        }
        if let Some(what) = find("Failed to authenticate") {
            return told(
                Kind::CreddRefused,
                what,
                "check at the schedd that SCITOKENS is among SEC_DEFAULT_AUTHENTICATION_METHODS and that its map file knows the token's subject",
            );
        }
        if let Some(what) = find("SECMAN:2011") {
            return told(
                Kind::CreddDown,
                what,
                "the address is not that of a credd, or it restarts; it is tried again",
            );
        }
        if let Some(what) = find("not allowed") {
            return told(
                Kind::CreddRefused,
                what,
                "check the credd's ALLOW_WRITE and CRED_SUPER_USERS",
            );
        }
        let last = both().map(words).rfind(|line| !line.is_empty());
        let what = last.unwrap_or_else(|| "condor_store_cred failed without a word".to_owned());
        told(Kind::CreddRefused, what, "see the CredLog at the schedd")
    }
}

/// A line without the time that HTCondor's log puts in front.
fn words(line: &str) -> String {
    let dated = |word: &str| {
        word.len() >= 8
            && word
                .bytes()
                .all(|b| b.is_ascii_digit() || b"/:.".contains(&b))
    };
    let words: Vec<&str> = line
        .split_whitespace()
        .skip_while(|word| dated(word))
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(success: bool, stdout: &str, stderr: &str) -> Said {
        Said {
            success,
            stdout: stdout.to_owned(),
            stderr: stderr.to_owned(),
        }
    }

    const ALL: &str = "Account: <current> (root)\nCredType: oauth\n\n\
        A credential was stored and is waiting for processing.\n\nCredential info:\n\
        cms.top = 1795336935\ncms.use = 1795336936\ncms_crab.top = 1795336993\n\
        fully_qualified_user = \"cmsprod@ap.test\"\n";

    #[test]
    fn times_of_the_service_are_read() {
        let said = said(true, ALL, "");
        let seen = said.observed("cms").unwrap();
        assert_eq!(seen.stored.unwrap().as_second(), 1_795_336_935);
        assert_eq!(seen.served.unwrap().as_second(), 1_795_336_936);
        let seen = said.observed("cms_crab").unwrap();
        assert!(seen.stored.is_some() && seen.served.is_none());
        assert!(said.observed("cm").unwrap().stored.is_none());
        assert_eq!(said.user(), Some("cmsprod@ap.test"));
    }

    #[test]
    fn nothing_stored_is_an_answer_and_a_failure_is_none() {
        let none = said(
            false,
            "Account: x\nCredType: oauth\n\nNo credential is stored.\n",
            "",
        );
        assert!(none.observed("cms").unwrap().stored.is_none());
        assert!(
            said(false, "Operation failed.\n", "")
                .observed("cms")
                .is_none()
        );
    }

    #[test]
    fn each_refusal_becomes_advice() {
        let failed =
            "Operation failed.\n    Make sure your ALLOW_WRITE setting includes this host.\n";
        for (stderr, kind, what) in [
            (
                "11/22/26 08:44:09 SECMAN: FAILED: Received \"DENIED\" from server for user crabtw@ap.test using method SCITOKENS.",
                Kind::CreddRefused,
                "SECMAN: FAILED: Received \"DENIED\" from server for user crabtw@ap.test using method SCITOKENS.; the access token needs a scope",
            ),
            (
                "11/22/26 08:44:09 SSL Auth: Server has rejected our token!\n11/22/26 08:44:09 ERROR: AUTHENTICATE:1003:Failed to authenticate with any method",
                Kind::CreddRefused,
                "`SCITOKENS ISSUER,SUBJECT cmsprod`",
            ),
            (
                "11/22/26 08:44:09 err 19:self-signed certificate in certificate chain\n11/22/26 08:44:09 ERROR: Failed to authenticate",
                Kind::CreddRefused,
                "AUTH_SSL_CLIENT_CAFILE",
            ),
            (
                "Can't find address for credd nowhere.test",
                Kind::CreddDown,
                "that its credd runs",
            ),
            (
                "11/22/26 08:44:09 attempt to connect to <127.0.0.1:9999> failed: Connection refused (connect errno = 111).",
                Kind::CreddDown,
                "Connection refused",
            ),
            (
                "",
                Kind::CreddRefused,
                "Make sure your ALLOW_WRITE setting includes this host.; see the CredLog",
            ),
        ] {
            let (found, message) = said(false, failed, stderr).failure("cmsprod");
            assert_eq!(found, kind, "{stderr}");
            assert!(message.contains(what), "{message}");
            assert!(!message.contains("08:44"), "{message}");
        }
    }
}
