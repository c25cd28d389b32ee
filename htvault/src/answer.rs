//! Answers of HTVault: the envelope of a success, and what an answer that is no success means.
//!
//! Decoders report the place and the category of a fault, never a value: it may be a secret.

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use std::time::Duration;
use url::Url;

use crate::error::Error;
use crate::text::printable;

/// Longest title of a front's page that is quoted, in characters.
const TITLE_LIMIT: usize = 100;
/// Shortest secret that is looked for in a server's words: a shorter one hides nothing.
const SHORTEST_SECRET: usize = 4;
/// Longest `Retry-After` that is passed on.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(24);

/// Envelope of every success.
#[derive(Deserialize)]
pub(crate) struct Envelope<T> {
    pub(crate) data: Option<T>,
    pub(crate) auth: Option<AuthBlock>,
    #[serde(default)]
    pub(crate) warnings: Option<Vec<String>>,
}

/// `auth` of an answer.
#[derive(Deserialize)]
pub(crate) struct AuthBlock {
    pub(crate) client_token: String,
    #[serde(default)]
    pub(crate) accessor: String,
    #[serde(default)]
    pub(crate) policies: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) metadata: Option<Metadata>,
    pub(crate) lease_duration: u64,
}

/// `metadata` of an answer: of a Kerberos login, or of an OIDC one.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) user: Option<String>,
    pub(crate) credkey: Option<String>,
    pub(crate) oauth2_refresh_token: Option<String>,
}

/// Body of an answer that is no success: errors, or (at a refused login) warnings only.
#[derive(Default, Deserialize)]
struct Failure {
    #[serde(default)]
    errors: Option<Vec<String>>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

/// Success with a body, and the request's name for messages about it.
pub(crate) struct Answered<T> {
    pub(crate) request: String,
    pub(crate) envelope: Envelope<T>,
}

impl<T> Answered<T> {
    /// The `data` of the answer.
    pub(crate) fn data(self) -> Result<T, Error> {
        let Self { request, envelope } = self;
        envelope
            .data
            .ok_or_else(|| Error::bad_answer(&request, "the answer has no data"))
    }
}

/// Those of some secrets that are long enough to be looked for.
fn worth_hiding<'a>(secrets: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    let secrets = secrets.iter().copied();
    secrets.filter(|secret| secret.len() >= SHORTEST_SECRET)
}

/// Replaces secrets in a server's words: it may repeat them.
pub(crate) fn hide(words: &str, secrets: &[&str]) -> String {
    let hide_one = |words: String, secret: &str| words.replace(secret, "(secret)");
    worth_hiding(secrets).fold(words.to_owned(), hide_one)
}

/// True when a server's word repeats a secret.
pub(crate) fn repeats(word: &str, secrets: &[&str]) -> bool {
    worth_hiding(secrets).any(|secret| word.contains(secret))
}

/// Decodes the body of a success. `secrets` are those of the request.
pub(crate) fn decode<T: DeserializeOwned>(
    request: &str,
    status: u16,
    body: &[u8],
    secrets: &[&str],
) -> Result<Envelope<T>, Error> {
    let decoded: Result<Envelope<T>, _> = serde_json::from_slice(body);
    let mut envelope = decoded.map_err(|fault| {
        // Every answer of Vault's is an object.
        let begins_as_json = body.trim_ascii_start().first() == Some(&b'{');
        if !begins_as_json {
            return Error::not_vault(request, status, &description(body, secrets));
        }
        let what = match fault.classify() {
            Category::Data => "a field is missing or of another type",
            Category::Eof => "it breaks off",
            Category::Syntax | Category::Io => "it is no JSON",
        };
        // Never the library's own words: they quote the value.
        let (line, column) = (fault.line(), fault.column());
        let words = format!("the answer is not understood: {what} (line {line}, column {column})");
        Error::bad_answer(request, &words)
    })?;
    for words in envelope.warnings.iter_mut().flatten() {
        *words = hide(words, secrets);
    }
    Ok(envelope)
}

/// The error of an answer that is no success. `secrets` are those of the request.
pub(crate) fn refusal(
    request: &str,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    secrets: &[&str],
    login: bool,
) -> Error {
    let code = status.as_u16();
    if status.is_redirection() {
        let place = location(headers).unwrap_or_else(|| "another place".to_owned());
        let place = hide(&place, secrets);
        let words = format!("it points to {place}; a token follows no redirect");
        return match code {
            // A standby that cannot forward: the leader that it names is mostly dead.
            307 => Error::from_answer(request, code, &[words], login),
            _ => Error::not_vault(request, code, &words),
        };
    }
    let Failure { errors, warnings } = serde_json::from_slice(body).unwrap_or_default();
    let other = || description(body, secrets);
    let error = match errors.or(warnings) {
        Some(words) => {
            let words: Vec<String> = words.iter().map(|words| hide(words, secrets)).collect();
            Error::from_answer(request, code, &words, login)
        }
        // A front may keep a quota as well.
        None if code == 429 => Error::from_answer(request, code, &[other()], login),
        None => Error::not_vault(request, code, &other()),
    };
    error.after(retry_after(headers))
}

/// `Retry-After` in seconds, of a day at most; a date in it is not used by any Vault.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    let seconds = text.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER))
}

/// Scheme, host and port of a redirect.
fn location(headers: &HeaderMap) -> Option<String> {
    let url = Url::parse(headers.get(LOCATION)?.to_str().ok()?).ok()?;
    let host = url.host_str()?;
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    Some(printable(
        &format!("{}://{host}{port}", url.scheme()),
        TITLE_LIMIT,
    ))
}

/// Description of a body that is not Vault's: the title of an HTML page, else its size. Nothing else
/// of it is quoted, for nobody knows what it holds.
fn description(body: &[u8], secrets: &[&str]) -> String {
    if let Some(title) = title(body, secrets) {
        return format!("a web page with the title \"{title}\"");
    }
    match body.len() {
        0 => "an answer without a body".to_owned(),
        length => format!("an answer of {length} bytes that is not Vault's JSON"),
    }
}

fn title(body: &[u8], secrets: &[&str]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    // Upper case has the same length in ASCII, so that places are the same in both.
    let lower = text.to_ascii_lowercase();
    let tag = lower.find("<title")?;
    let start = tag + lower.get(tag..)?.find('>')? + 1;
    let length = lower.get(start..)?.find("</title")?;
    let words: Vec<&str> = text
        .get(start..start + length)?
        .split_whitespace()
        .collect();
    // Before it is cut, which could leave a part of a secret.
    let title = printable(&hide(&words.join(" "), secrets), TITLE_LIMIT);
    (!title.is_empty()).then_some(title)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ErrorKind, FailureScope};

    fn refused(status: u16, body: &str) -> Error {
        let status = StatusCode::from_u16(status).unwrap();
        refusal(
            "GET https://v/",
            status,
            &HeaderMap::new(),
            body.as_bytes(),
            &[],
            false,
        )
    }

    #[test]
    fn what_is_not_vaults_json_came_from_something_between() {
        let page = "<html><head><TITLE lang=en>\n 404 Not\x1b Found </TITLE></head></html>";
        for (status, body, scope) in [
            (404, page, FailureScope::Credential),
            (403, page, FailureScope::Credential),
            (400, "", FailureScope::Credential),
            (431, "{\"message\":\"too large\"}", FailureScope::Credential),
            (502, page, FailureScope::Host),
            (503, "", FailureScope::Host),
            (504, "[]", FailureScope::Host),
            (401, page, FailureScope::Credential),
        ] {
            let error = refused(status, body);
            assert_eq!(error.kind(), ErrorKind::NotVault, "{status} {body}");
            assert_eq!(error.scope(), scope, "{status} {body}");
            assert!(error.advice().contains("something between"), "{error}");
        }
        let text = refused(404, page).message();
        assert!(
            text.contains(r#"404 a web page with the title "404 Not\u{1b} Found""#),
            "{text}"
        );
    }

    #[test]
    fn vaults_own_answers_are_told_from_a_fronts() {
        assert_eq!(
            refused(404, r#"{"errors":[]}"#).kind(),
            ErrorKind::NoneStored
        );
        let warned = r#"{"data":null,"warnings":["Unauthorised.\n\n"]}"#;
        let status = StatusCode::UNAUTHORIZED;
        let login = refusal(
            "POST x",
            status,
            &HeaderMap::new(),
            warned.as_bytes(),
            &[],
            true,
        );
        assert_eq!(login.kind(), ErrorKind::LoginRefused);
        assert_eq!(refused(429, "slow down").kind(), ErrorKind::RateLimited);
        let health = r#"{"initialized":true,"sealed":false,"standby":true}"#;
        assert_eq!(refused(429, health).kind(), ErrorKind::RateLimited);
    }

    #[test]
    fn a_fault_of_an_answer_is_named_by_its_place_and_never_by_its_value() {
        for (body, kind) in [
            (r#"{"data":"eyJsecret"}"#, ErrorKind::BadAnswer),
            (
                r#"{"data":{"access_token":{"eyJsecret":1}}}"#,
                ErrorKind::BadAnswer,
            ),
            (
                r#"{"data":{"access_token":"eyJsecret"#,
                ErrorKind::BadAnswer,
            ),
            (r#"{"eyJsecret"}"#, ErrorKind::BadAnswer),
            ("eyJsecret", ErrorKind::NotVault),
            ("<title>Sign in</title> eyJsecret", ErrorKind::NotVault),
            ("[\"eyJsecret\"]", ErrorKind::NotVault),
        ] {
            let decoded = decode::<std::collections::HashMap<String, String>>(
                "GET x",
                200,
                body.as_bytes(),
                &[],
            );
            let error = decoded.err().unwrap();
            assert_eq!(error.kind(), kind, "{body}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        }
    }
}
