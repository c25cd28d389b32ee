//! The request log: one line of JSON for each request, for tests that count and compare them.
//!
//! What always holds: no token, ticket or other secret is ever in it; a query that could hold one
//! is cut out. A line is written whole and at once.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

use super::tokens::Token;

/// Where requests are noted.
pub struct RequestLog {
    out: Mutex<Box<dyn Write + Send>>,
}

/// A request that was answered.
pub struct Entry<'a> {
    /// When.
    pub time: Timestamp,
    /// `vault` or `issuer`.
    pub server: &'static str,
    /// The HTTP method.
    pub method: &'a str,
    /// The path, as it was sent.
    pub path: &'a str,
    /// The query, as it was sent.
    pub query: &'a str,
    /// The HTTP status of the answer.
    pub status: u16,
    /// The token that asked, or was given.
    pub token: Option<&'a Token>,
}

#[derive(Serialize)]
struct Line<'a> {
    time: Timestamp,
    server: &'static str,
    method: &'a str,
    path: &'a str,
    query: &'a str,
    status: u16,
    principal: Option<&'a str>,
    accessor: Option<&'a str>,
}

impl RequestLog {
    /// Notes requests in a file, after what it holds, or on the standard output for `-`.
    pub fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::to(Box::new(io::stdout())));
        }
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self::to(Box::new(file)))
    }

    /// Notes requests wherever this goes.
    #[must_use]
    pub fn to(out: Box<dyn Write + Send>) -> Self {
        Self {
            out: Mutex::new(out),
        }
    }

    /// Notes a request. A log that cannot be written does not stop the server.
    pub fn note(&self, entry: &Entry<'_>) {
        let query = entry.query;
        let suspicious = ["token", "secret", "code"]
            .iter()
            .any(|word| query.contains(word));
        let line = Line {
            time: entry.time,
            server: entry.server,
            method: entry.method,
            path: entry.path,
            query: if suspicious { "<cut out>" } else { query },
            status: entry.status,
            principal: entry.token.map(|token| token.spec.owner.name.as_str()),
            accessor: entry.token.map(|token| token.spec.accessor.as_str()),
        };
        let Ok(mut text) = serde_json::to_vec(&line) else {
            return;
        };
        text.push(b'\n');
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = out.write_all(&text).and_then(|()| out.flush()) {
            tracing::warn!(%error, "the request log cannot be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(queries: &[&str]) -> String {
        let shared = Shared::default();
        let log = RequestLog::to(Box::new(shared.clone()));
        for query in queries {
            log.note(&Entry {
                time: Timestamp::UNIX_EPOCH,
                server: "vault",
                method: "GET",
                path: "/v1/x",
                query,
                status: 200,
                token: None,
            });
        }
        let bytes = shared.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_request_is_a_line() {
        let text = lines(&["minimum_seconds=60", ""]);
        assert_eq!(text.lines().count(), 2);
        let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(first["query"], "minimum_seconds=60");
        assert_eq!(first["status"], 200);
    }

    #[test]
    fn a_secret_sent_in_a_query_is_cut_out() {
        assert!(!lines(&["refresh_token=abc"]).contains("abc"));
    }
}
