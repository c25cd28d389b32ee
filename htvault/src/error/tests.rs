//! Kinds, scopes and texts of errors, by recorded answers.

use super::*;

fn error(status: u16, word: &str) -> Error {
    Error::from_answer("GET https://v/", status, &[word.to_owned()], false)
}

#[test]
fn recorded_answers_have_their_kind_and_scope() {
    use ErrorKind as Kind;
    use FailureScope as Scope;
    for (status, word, kind, scope) in [
        (
            403,
            "permission denied",
            Kind::TokenRejected,
            Scope::Credential,
        ),
        (403, "bad token", Kind::TokenRejected, Scope::Credential),
        (
            403,
            "1 error occurred:\n\t* permission denied\n\n",
            Kind::Forbidden,
            Scope::Credential,
        ),
        (400, "token expired", Kind::NotLongEnough, Scope::Issuer),
        (
            400,
            "refresh failed: server rejected request: invalid_grant: Invalid refresh token",
            Kind::RefreshRefused,
            Scope::Credential,
        ),
        (
            429,
            "request path \"x\": rate limit quota exceeded",
            Kind::RateLimited,
            Scope::Quota,
        ),
        (503, "Vault is sealed", Kind::Sealed, Scope::Host),
        (307, "", Kind::Standby, Scope::Host),
        (473, "", Kind::Standby, Scope::Host),
        (
            500,
            "local node not active but active cluster node not found",
            Kind::NoLeader,
            Scope::Host,
        ),
        (
            500,
            "1 error occurred:\n\t* transient: Post \"https://i/token\"",
            Kind::IssuerDown,
            Scope::Issuer,
        ),
        (
            500,
            "could not connect to LDAP",
            Kind::ServerError,
            Scope::Credential,
        ),
        (404, "", Kind::NoneStored, Scope::Credential),
        (
            404,
            "no handler for route \"secret/oauth/creds/cms/cmsprod:crab\". route entry not found.",
            Kind::Refused,
            Scope::Credential,
        ),
        (
            405,
            "unsupported operation",
            Kind::Refused,
            Scope::Credential,
        ),
        // The keytab has no part in a request that is no login.
        (401, "Unauthorised.", Kind::Refused, Scope::Credential),
    ] {
        let error = error(status, word);
        assert_eq!(
            (error.kind(), error.scope()),
            (kind, scope),
            "{status} {word}"
        );
        assert_eq!(error.status(), Some(status));
        assert!(!error.to_string().contains("tried again"), "{error}");
    }
    let login = Error::from_answer("POST https://v/", 401, &["Unauthorised.".to_owned()], true);
    assert_eq!(login.kind(), Kind::LoginRefused);
}

#[test]
fn the_message_has_request_status_and_words_and_the_advice_is_apart() {
    let error = Error::from_answer(
        "GET https://vault.test:8200/v1/secret/oauth/creds/cms/cmsprod:crab",
        403,
        &["1 error occurred:\n\t* permission denied\n\n".to_owned()],
        false,
    );
    assert_eq!(
        error.message(),
        "GET https://vault.test:8200/v1/secret/oauth/creds/cms/cmsprod:crab: \
         403 1 error occurred: * permission denied"
    );
    assert_eq!(
        error.advice(),
        "check issuer, role and credkey, or have the Vault's policy extended"
    );
    assert_eq!(
        error.to_string(),
        format!("{}; {}", error.message(), error.advice())
    );
}

#[test]
fn hostile_words_are_escaped_and_bounded() {
    let text = error(400, &format!("\u{1b}[31mred\u{7}\0{}", "x".repeat(300_000))).message();
    assert!(text.contains(r"\u{1b}[31mred\u{7}\u{0}"), "{text}");
    assert!(text.chars().count() < 600, "{}", text.chars().count());
    assert!(text.ends_with('…'));
}

#[test]
fn of_several_addresses_the_failure_that_speaks_of_the_least_counts() {
    let sealed = || ("a".to_owned(), error(503, "Vault is sealed"));
    let broken = || ("b".to_owned(), error(500, "broken"));
    let dead = || {
        let error = Error::new(ErrorKind::Unreachable, "GET https://v/", "refused");
        ("c".to_owned(), error)
    };
    let kind = |failures| {
        let error = Error::of_all_addresses("GET https://v/", failures);
        (error.kind(), error.scope())
    };
    let host = (ErrorKind::Sealed, FailureScope::Host);
    assert_eq!(kind(vec![dead(), sealed()]), host, "it answered");
    let path = (ErrorKind::ServerError, FailureScope::Credential);
    assert_eq!(kind(vec![sealed(), broken(), dead()]), path);
}

#[test]
fn the_source_is_kept_over_a_clone() {
    let io = std::io::Error::from(std::io::ErrorKind::NotFound);
    let error = Error::configuration("x").caused_by(io).clone();
    assert!(error.source().unwrap().is::<std::io::Error>());
}
