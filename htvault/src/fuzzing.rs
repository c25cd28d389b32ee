//! Entry points for fuzzing: decoders of what servers send, with what must hold for any input. No part of the API.
//!
//! Each function panics when its law is broken, and else does nothing.

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::answer::{Answered, decode, refusal};
use crate::error::Error;
use crate::text::{LIMIT, printable};
use crate::{Claims, CredentialUrl, TokenForm, access_token, oidc, survey, vault_token};

/// What the request was authorized with. A server may repeat it.
const SECRET: &str = "hvs.CAESIJfuzzedfuzzedfuzzed";
const REQUEST: &str = "GET https://vault.test:8200/v1/x";
/// Longest message of an error: request, status, words, and the signs between.
const MESSAGE_LIMIT: usize = 2 * LIMIT + 20;

/// An answer of a Vault, as HTTP has it: a line with the status, headers, an empty line, the body. Messages are
/// printable and bounded, and hold no secret; tokens can stand in a header.
pub fn answer(data: &[u8]) {
    let end = data.windows(2).position(|two| two == b"\n\n");
    let (head, body) = data.split_at(end.unwrap_or(data.len()));
    let body = body.trim_ascii_start();
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default().split(' ').nth(1);
    let status = status.and_then(|status| StatusCode::from_bytes(status.as_bytes()).ok());
    let status = status.unwrap_or(StatusCode::OK);
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    if !status.is_success() {
        for login in [false, true] {
            let error = refusal(REQUEST, status, &headers, body, &[SECRET], login);
            check(&error);
        }
        return;
    }
    let token = |token: &str| {
        assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
    };
    if let Some(answer) =
        understood(status, body).and_then(|answer| kept(access_token::read(answer)))
    {
        token(answer.token.expose());
        texts(&answer.warnings);
    }
    let issued = |answer: Answered<IgnoredAny>| {
        kept(vault_token::issued(answer, Some("cmsprod"), &[SECRET]))
    };
    if let Some(issued) = understood(status, body).and_then(issued) {
        token(issued.token.expose());
        texts(&issued.warnings);
        texts(&[issued.accessor]);
    }
    if let Some(login) = understood(status, body).and_then(|answer| kept(oidc::approved(answer))) {
        token(login.login.token.expose());
    }
    let begun = |answer| kept(oidc::begun(answer, "crab", "nonce", "/v1/poll".to_owned()));
    if let Some(flow) = understood(status, body).and_then(begun) {
        assert!(flow.url.starts_with("http") && flow.url.is_ascii());
        assert!((1..=300).contains(&flow.interval.as_secs()));
    }
    let looked_up = |answer| kept(vault_token::looked_up(answer, &[SECRET]));
    if let Some(info) = understood(status, body).and_then(looked_up) {
        texts(&[info.accessor]);
    }
    if let Some(node) = kept(survey::described(REQUEST, status.as_u16(), body)) {
        texts(&node.version.map_or(Vec::new(), |version| vec![version]));
    }
}

/// A token, and what may stand in its place. Claims that are read are those of what a header can carry.
pub fn token(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let form = TokenForm::of(&text);
    assert_eq!(form, TokenForm::of(text.trim_end()));
    if form != TokenForm::NotAToken {
        assert!(HeaderValue::from_str(text.trim_end()).is_ok());
    }
    let claims = match form {
        TokenForm::Jwt(claims) => claims,
        _ => Claims::read(&text).unwrap_or_default(),
    };
    // Names and types, no values.
    assert!(
        claims
            .odd
            .iter()
            .all(|odd| odd.len() < 80 && !odd.contains('"')),
        "{:?}",
        claims.odd
    );
}

/// The address of a credential: https, a host, a path, and nothing else; written and read again it is the same.
pub fn credential_url(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match text.parse::<CredentialUrl>() {
        Err(error) => check(&error),
        Ok(url) => {
            let written = url.to_string();
            assert!(written.starts_with("https://") && written.is_ascii());
            // A principal has one in the path; before that it would name another host.
            assert!(!url.server().to_string().contains('@'), "{written}");
            assert!(!written.contains(['?', '#', ' ', '\\']), "{written}");
            assert!(
                url.path().starts_with("/v1/") && !url.path().contains("/../"),
                "{written}"
            );
            assert!(!url.server().host().is_empty());
            assert_eq!(written.parse::<CredentialUrl>().ok(), Some(url));
        }
    }
}

fn understood<T: DeserializeOwned>(status: StatusCode, body: &[u8]) -> Option<Answered<T>> {
    let envelope = kept(decode(REQUEST, status.as_u16(), body, &[SECRET]))?;
    let request = REQUEST.to_owned();
    Some(Answered { request, envelope })
}

fn kept<T>(result: Result<T, Error>) -> Option<T> {
    result.inspect_err(check).ok()
}

fn check(error: &Error) {
    let (message, text) = (error.message(), error.to_string());
    assert!(message.chars().count() <= MESSAGE_LIMIT, "{message}");
    assert_eq!(
        printable(&text, usize::MAX),
        text,
        "a text that is not printable"
    );
    assert!(!text.contains(SECRET), "a secret: {text}");
}

fn texts(texts: &[String]) {
    for text in texts {
        assert_eq!(printable(text, LIMIT), *text);
        assert!(!text.contains(SECRET), "a secret: {text}");
    }
}
