//! Answers as OpenBao gives them: the envelope, the order of its fields, the headers, and the
//! error texts.
//!
//! What always holds: every body is one line of JSON; no answer is ever stored by
//! a cache; what the request log may say travels beside the answer, secrets never do.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, STRICT_TRANSPORT_SECURITY, WWW_AUTHENTICATE,
};
use axum::http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use super::random;
use super::tokens::Token;

/// What is sent back.
#[derive(Debug, Clone)]
pub struct Answer {
    status: StatusCode,
    body: Vec<u8>,
    asks_for_ticket: bool,
    retry_after: Option<u64>,
    /// On whose behalf, for the request log.
    pub caller: Option<Arc<Token>>,
}

/// The outer shape of every answer that is not an error.
#[derive(Serialize)]
struct Envelope<'a, D, A> {
    request_id: &'a str,
    lease_id: &'static str,
    renewable: bool,
    lease_duration: u64,
    data: D,
    wrap_info: Option<()>,
    warnings: Option<&'a [String]>,
    auth: A,
}

#[derive(Serialize)]
struct Errors<'a> {
    errors: &'a [&'a str],
}

/// The `auth` part of an answer that gives a token.
#[derive(Serialize)]
pub struct Auth<'a> {
    /// The token itself.
    pub client_token: &'a str,
    /// Its public handle.
    pub accessor: &'a str,
    /// What it may do.
    pub policies: &'a [String],
    /// The same again.
    pub token_policies: &'a [String],
    /// The login's data, null for a child.
    pub metadata: Option<&'a serde_json::Value>,
    /// How long it lives.
    pub lease_duration: u64,
    /// Whether it says it can be renewed.
    pub renewable: bool,
    /// Who it is of.
    pub entity_id: &'a str,
    /// `service` or `batch`.
    pub token_type: &'static str,
    /// Whether its life hangs on no other.
    pub orphan: bool,
    /// Never required here.
    pub mfa_requirement: Option<()>,
    /// Zero: unlimited.
    pub num_uses: u64,
}

impl Answer {
    fn json(status: StatusCode, value: &impl Serialize) -> Self {
        let mut body = Vec::with_capacity(1024);
        if serde_json::to_writer(&mut body, value).is_err() {
            return Self::error(StatusCode::INTERNAL_SERVER_ERROR, "internal error");
        }
        body.push(b'\n');
        Self {
            status,
            body,
            asks_for_ticket: false,
            retry_after: None,
            caller: None,
        }
    }

    fn enveloped(
        status: StatusCode,
        data: impl Serialize,
        auth: impl Serialize,
        warnings: &[String],
    ) -> Self {
        let envelope = Envelope {
            request_id: &random::uuid(),
            lease_id: "",
            renewable: false,
            lease_duration: 0,
            data,
            wrap_info: None,
            warnings: (!warnings.is_empty()).then_some(warnings),
            auth,
        };
        Self::json(status, &envelope)
    }

    /// 200 with `data`.
    #[must_use]
    pub fn data(data: impl Serialize, warnings: &[String]) -> Self {
        Self::enveloped(StatusCode::OK, data, None::<()>, warnings)
    }

    /// 200 with `auth`.
    #[must_use]
    pub fn auth(auth: &Auth<'_>, warnings: &[String]) -> Self {
        Self::enveloped(StatusCode::OK, None::<()>, auth, warnings)
    }

    /// A body without the envelope, as the `sys/` calls have it.
    #[must_use]
    pub fn plain(status: StatusCode, value: &impl Serialize) -> Self {
        Self::json(status, value)
    }

    /// 204.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            body: Vec::new(),
            asks_for_ticket: false,
            retry_after: None,
            caller: None,
        }
    }

    /// An error with these words.
    #[must_use]
    pub fn error(status: StatusCode, words: &str) -> Self {
        Self::json(status, &Errors { errors: &[words] })
    }

    /// An error wrapped as Vault's core does with errors that come from below it.
    #[must_use]
    pub fn wrapped_error(status: StatusCode, words: &str) -> Self {
        Self::error(status, &format!("1 error occurred:\n\t* {words}\n\n"))
    }

    /// 400 with these words.
    #[must_use]
    pub fn bad_request(words: &str) -> Self {
        Self::error(StatusCode::BAD_REQUEST, words)
    }

    /// 403 for a token that is dead, unknown or missing.
    #[must_use]
    pub fn dead_token() -> Self {
        Self::error(StatusCode::FORBIDDEN, "permission denied")
    }

    /// 403 for a living token whose policies do not allow this.
    #[must_use]
    pub fn forbidden() -> Self {
        Self::wrapped_error(StatusCode::FORBIDDEN, "permission denied")
    }

    /// 404 without words: nothing is stored there.
    #[must_use]
    pub fn none_stored() -> Self {
        Self::json(StatusCode::NOT_FOUND, &Errors { errors: &[] })
    }

    /// 405 for a path that exists but does not do this.
    #[must_use]
    pub fn unsupported() -> Self {
        Self::wrapped_error(StatusCode::METHOD_NOT_ALLOWED, "unsupported operation")
    }

    /// 401 for a login without a ticket.
    #[must_use]
    pub fn ticket_required() -> Self {
        let mut answer = Self::error(StatusCode::UNAUTHORIZED, "authentication required");
        answer.asks_for_ticket = true;
        answer
    }

    /// 401 for a ticket that does not convince.
    #[must_use]
    pub fn ticket_refused() -> Self {
        let words = "Unauthorised.\n\n".to_owned();
        let mut answer =
            Self::enveloped(StatusCode::UNAUTHORIZED, None::<()>, None::<()>, &[words]);
        // The one body that the real server sends without a line end.
        answer.body.pop();
        answer
    }

    /// The same answer, saying after how many seconds to come back.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The same answer, known to be for this token.
    #[must_use]
    pub fn to(mut self, caller: Arc<Token>) -> Self {
        self.caller = Some(caller);
        self
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The HTTP form, with the headers of the real server.
    #[must_use]
    pub fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=31536000; includeSubDomains"),
        );
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.asks_for_ticket {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Negotiate"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(answer: Answer) -> String {
        String::from_utf8(answer.body).unwrap()
    }

    #[test]
    fn errors_are_byte_for_byte_those_of_the_real_server() {
        let dead = "{\"errors\":[\"permission denied\"]}\n";
        assert_eq!(text(Answer::dead_token()), dead);
        let forbidden = r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#;
        assert_eq!(text(Answer::forbidden()).trim_end(), forbidden);
        assert_eq!(text(Answer::none_stored()), "{\"errors\":[]}\n");
    }

    #[test]
    fn the_envelope_has_its_order() {
        let body = text(Answer::ticket_refused());
        let tail = r#","lease_id":"","renewable":false,"lease_duration":0,"data":null,"wrap_info":null,"warnings":["Unauthorised.\n\n"],"auth":null}"#;
        assert!(body.trim_end().ends_with(tail), "{body}");
        assert_eq!(body.len(), 178, "the length recorded");
    }
}
