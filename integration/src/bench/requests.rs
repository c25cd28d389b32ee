//! What the development server says it was asked: its log of requests.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Deserialize;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Request {
    /// When.
    pub time: Timestamp,
    /// `vault` or `issuer`.
    pub server: String,
    /// Its path.
    pub path: String,
    /// What was answered.
    pub status: u16,
}

impl Request {
    /// Whether an access token was asked for.
    #[must_use]
    pub fn is_for_access_token(&self) -> bool {
        self.server == "vault" && self.path.starts_with("/v1/secret/oauth/")
    }
}

/// The requests in a log from a time on, for access tokens.
pub fn for_access_tokens(log: &Path, from: Timestamp) -> anyhow::Result<Vec<Request>> {
    since(log, from, Request::is_for_access_token)
}

/// The requests in a log from a time on that are meant.
pub fn since(
    log: &Path,
    from: Timestamp,
    is_meant: impl Fn(&Request) -> bool,
) -> anyhow::Result<Vec<Request>> {
    let text = fs::read_to_string(log).context("cannot read the server's log of requests")?;
    let mut found = Vec::new();
    for line in text.lines() {
        let request: Request =
            serde_json::from_str(line).context("the server's log of requests")?;
        if request.time >= from && is_meant(&request) {
            found.push(request);
        }
    }
    Ok(found)
}

/// How many requests came in each whole minute (or other `period`, in seconds) after `from` and
/// before `until`. What is left over at the end does not count.
#[must_use]
pub fn in_each(requests: &[Request], from: Timestamp, until: Timestamp, period: i64) -> Vec<usize> {
    let whole = until.as_millisecond().saturating_sub(from.as_millisecond()) / (period * 1000);
    let mut counts = vec![0; usize::try_from(whole).unwrap_or(0)];
    for request in requests {
        let since = request.time.as_millisecond() - from.as_millisecond();
        let place = usize::try_from(since.div_euclid(period * 1000));
        if let Some(count) = place.ok().and_then(|place| counts.get_mut(place)) {
            *count += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn request(second: i64, server: &str, path: &str) -> Request {
        Request {
            time: at(second),
            server: server.to_owned(),
            path: path.to_owned(),
            status: 200,
        }
    }

    #[test]
    fn whole_minutes_are_counted() {
        let seconds = [99, 100, 159, 160, 279, 280];
        let requests = seconds.map(|second| request(second, "vault", "/v1/secret/oauth/creds/a"));
        assert_eq!(in_each(&requests, at(100), at(290), 60), [2, 1, 1]);
    }

    #[test]
    fn only_reads_of_access_tokens_count() {
        assert!(request(0, "vault", "/v1/secret/oauth/sts/cms/a:b").is_for_access_token());
        assert!(!request(0, "vault", "/v1/auth/token/lookup-self").is_for_access_token());
        assert!(!request(0, "issuer", "/cms/token").is_for_access_token());
    }
}
