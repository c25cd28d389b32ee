//! The recorded exchanges of a real server: `integration/recorded/NAME.http`, each a request and
//! its answer with the secrets cut out.
//!
//! What always holds: they are part of the program, so that it runs anywhere; a test compares
//! [`RECORDINGS`] with the folder.

use anyhow::Context as _;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The headers that matter, in their order.
    pub headers: Vec<(String, String)>,
    /// The body, often empty.
    pub body: String,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Its reason phrase.
    pub reason: String,
    /// The headers in their order.
    pub headers: Vec<(String, String)>,
    /// The body, often empty.
    pub body: String,
}

/// A request and what was answered.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// What was asked.
    pub request: Request,
    /// What was answered.
    pub answer: Answer,
}

macro_rules! recordings {
    ($($name:literal,)*) => {
        /// The name and the text of each recording.
        pub const RECORDINGS: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../recorded/", $name, ".http"))),)*];
    };
}

recordings! {
    "creds-delete",
    "creds-list",
    "creds-none-stored",
    "creds-read-after-delete",
    "creds-read-after-onboarding",
    "creds-read-cached",
    "creds-read-expired-token",
    "creds-read-issuer-down",
    "creds-read-issuer-hangs",
    "creds-read-minimum-too-long",
    "creds-read-other-role",
    "creds-read-other-user",
    "creds-read-refresh-refused",
    "creds-read-revoked-token",
    "creds-read-still-cached",
    "creds-read-with-audience",
    "creds-read",
    "creds-store-denied-with-kerberos-token",
    "creds-store",
    "failover-create",
    "failover-creds-new",
    "failover-creds",
    "failover-lookup",
    "garbage-token",
    "health",
    "login-bad-negotiate",
    "login-krb5-mech",
    "login-ldap-down",
    "login-no-negotiate",
    "login-no-such-mount",
    "login-principal-not-in-ldap",
    "login-spnego",
    "lookup-accessor-denied",
    "lookup-self-expired",
    "lookup-self-parent-revoked",
    "lookup-self-revoked",
    "lookup-self",
    "no-token",
    "oidc-auth-url",
    "oidc-creds-store",
    "oidc-poll-done",
    "oidc-poll-pending",
    "oidc-poll-wrong-nonce",
    "rate-limited",
    "renew-self-denied",
    "revoke-self",
    "seal-status",
    "sealed-creds-read",
    "sealed-health",
    "sealed-login",
    "standby-creds-read",
    "standby-health",
    "standby-login",
    "standby-lookup-self",
    "standby-token-create",
    "sts-read-audiences",
    "sts-read-issuer-down",
    "sts-read-scopes",
    "token-create-bad-ttl",
    "token-create-batch",
    "token-create-longer-than-max",
    "token-create",
    "token-lookup-child",
    "unknown-path",
}

/// The recording of this name.
pub fn exchange(name: &str) -> anyhow::Result<Exchange> {
    let found = RECORDINGS.iter().find(|(known, _)| *known == name);
    let (_, text) = found.with_context(|| format!("there is no recording {name}"))?;
    Exchange::parse(text).with_context(|| format!("the recording {name} cannot be read"))
}

impl Exchange {
    /// Reads a recording.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (request, answer) = text.split_once("\nHTTP/1.1 ")?;
        let (head, body) = request.split_once("\n\n")?;
        let mut lines = head.lines();
        let mut first = lines.next()?.split(' ');
        let request = Request {
            method: first.next()?.to_owned(),
            path: first.next()?.to_owned(),
            headers: lines.map(header).collect::<Option<_>>()?,
            body: body.trim().to_owned(),
        };
        let (head, body) = answer.split_once("\n\n")?;
        let mut answer = Answer::parse_head(&format!("HTTP/1.1 {head}"))?;
        body.trim().clone_into(&mut answer.body);
        Some(Self { request, answer })
    }
}

impl Answer {
    /// Reads the status line and headers of an answer.
    #[must_use]
    pub fn parse_head(head: &str) -> Option<Self> {
        let mut lines = head.lines();
        let mut first = lines.next()?.splitn(3, ' ');
        if first.next() != Some("HTTP/1.1") {
            return None;
        }
        Some(Self {
            status: first.next()?.parse().ok()?,
            reason: first.next()?.to_owned(),
            headers: lines.map(header).collect::<Option<_>>()?,
            body: String::new(),
        })
    }

    /// The value of a header, however its name is written.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

fn header(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(": ")?;
    Some((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn every_recording_of_the_folder_is_here_and_can_be_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recorded");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        let known: BTreeSet<String> = (RECORDINGS.iter())
            .map(|(name, _)| (*name).to_owned())
            .collect();
        assert_eq!(files, known);
        for name in known {
            exchange(&name).unwrap();
        }
    }
}
