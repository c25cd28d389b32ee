//! Checks of access tokens against the configuration. Pure.

use std::time::Duration;

use htvault::AccessTokenAnswer;
use jiff::Timestamp;

use crate::model::delivery::{Credential, Delivery, DeliveryId};
use crate::model::duration::format;
use crate::model::moment::after;
use crate::model::problem::{Cause, Kind, Problem};
use crate::model::records::TokenSubject;

/// Advice for rights that differ from the configured ones.
const RIGHTS: &str =
    "correct `scopes` or `audience`, or have the issuer's client or the role at Vault extended";
/// Advice for a missing claim.
const ISSUER: &str = "tell the admins of the token issuer";
/// Message for a token without an expiry: until when jobs have one cannot be known.
const NO_EXPIRY: &str = "it has no expiry (neither its claim `exp` nor the issuer's `expires_in`)";
/// Advice for a token that has expired, or is not valid yet, by this host's clock.
const CLOCKS: &str = "compare this host's clock with Vault's and the issuer's (chronyc tracking)";

/// A fault of an access token: advice and description.
type Fault = (&'static str, String);

/// Checks the claims of an access token against the configuration.
///
/// Of a token that is no JWT only the expiry can be checked; it fails when scopes or an audience are configured.
///
/// # Errors
/// All faults, with advice for each kind of fault: a [`Kind::Clock`] when only times are wrong, else a
/// [`Kind::WrongToken`].
pub fn access_token(
    credential: &Credential,
    answer: &AccessTokenAnswer,
    now: Timestamp,
) -> Result<(), Problem> {
    let wrong = faults(credential, answer, now);
    if wrong.is_empty() {
        return Ok(());
    }
    let mut advice: Vec<&str> = Vec::new();
    for (one, _) in &wrong {
        if !advice.contains(one) {
            advice.push(one);
        }
    }
    let kind = if advice == [CLOCKS] {
        Kind::Clock
    } else {
        Kind::WrongToken
    };
    let wrong: Vec<String> = wrong.into_iter().map(|(_, what)| what).collect();
    Err(Problem::new(
        Cause::credential(credential),
        kind,
        format!(
            "the access token read at {} is not what is asked for: {}; {}",
            credential.url,
            wrong.join("; "),
            advice.join("; ")
        ),
    ))
}

/// Words for a login that lives `lease` only, less than vault tokens are to live (`lifetime`); `None` for one that
/// lives long enough. A vault token dies with its login.
#[must_use]
pub fn short_login(credential: &Credential, lease: Duration, lifetime: Duration) -> Option<String> {
    (lease < lifetime).then(|| {
        format!(
            "logins by kerberos-{}_{} live {}, less than `tokens.lifetime` ({}), and vault tokens die with them, so each is \
             replaced as early; have a Vault admin raise `token_ttl` and `token_max_ttl` of that mount, or lower \
             `tokens.lifetime`",
            credential.issuer,
            credential.role,
            format(lease),
            format(lifetime)
        )
    })
}

/// Words for claims of odd types, which were read as far as possible; `None` when there are none.
#[must_use]
pub fn odd_claims(answer: &AccessTokenAnswer) -> Option<String> {
    let odd = &answer.claims.as_ref()?.odd;
    (!odd.is_empty()).then(|| {
        format!(
            "claims of the access token have odd types ({}), so services may refuse it; {}",
            odd.join("; "),
            ISSUER
        )
    })
}

impl TokenSubject {
    /// Issuer and subject of an answer; `None` for a token without them.
    #[must_use]
    pub fn of(answer: &AccessTokenAnswer) -> Option<Self> {
        let claims = answer.claims.as_ref()?;
        Some(Self {
            issuer: claims.issuer.clone()?,
            subject: claims.subject.clone()?,
        })
    }
}

/// Checks that an access token has the same issuer and subject as before: only a person may accept a change.
///
/// # Errors
/// Issuer or subject changed.
pub fn subject(
    delivery: &Delivery,
    before: Option<&TokenSubject>,
    now: Option<&TokenSubject>,
) -> Result<(), Problem> {
    let Some(before) = before.filter(|before| now != Some(before)) else {
        return Ok(());
    };
    let words = |subject: &TokenSubject| {
        let shown = |text: &str| htvault::text::printable(text, TEXT_LIMIT);
        format!(
            "subject {} of {}",
            shown(&subject.subject),
            shown(&subject.issuer)
        )
    };
    let DeliveryId {
        account,
        service,
        schedd,
    } = &delivery.id;
    let now = now.map_or_else(|| "no named subject".to_owned(), words);
    Err(Problem::new(
        Cause::credential(&delivery.credential),
        Kind::WrongToken,
        format!(
            "access tokens are of {now} now, and were of {} before, so nothing is replaced. If the change is right: token-bastion push \
             --account {account} --service {service} --schedd {schedd}; else tell the admins of Vault and of the issuer",
            words(before)
        ),
    ))
}

/// Longest foreign text in a message, in characters.
const TEXT_LIMIT: usize = 200;

/// Returns all faults of an access token.
fn faults(credential: &Credential, answer: &AccessTokenAnswer, now: Timestamp) -> Vec<Fault> {
    let mut wrong = Vec::new();
    match &answer.claims {
        Some(claims) => {
            if claims.unsigned {
                wrong.push((ISSUER, "it is not signed (alg: none)".to_owned()));
            }
            if claims.issuer.as_deref().is_none_or(str::is_empty) {
                wrong.push((ISSUER, "it names no issuer".to_owned()));
            }
            if claims.subject.as_deref().is_none_or(str::is_empty) {
                wrong.push((ISSUER, "it names no subject".to_owned()));
            }
            let absent = |asked: &&str| !claims.scopes.iter().any(|has| has == asked);
            let missing: Vec<&str> = credential
                .scopes
                .iter()
                .map(String::as_str)
                .filter(absent)
                .collect();
            if !missing.is_empty() {
                let what = format!("scope {} is missing", missing.join(", "));
                wrong.push((RIGHTS, what));
            }
            let audiences = credential.audience.iter().flat_map(|list| list.split(','));
            for audience in
                audiences.filter(|asked| !claims.audience.iter().any(|has| has == asked))
            {
                let what = format!("audience {audience} is missing");
                wrong.push((RIGHTS, what));
            }
            // Some services refuse a token that was issued in the future, too.
            if let Some(begin) = claims.not_before.max(claims.issued)
                && begin > after(now, SKEW)
            {
                let what = format!("it is not valid before {begin:.0}, and here it is {now:.0}");
                wrong.push((CLOCKS, what));
            }
        }
        None if credential.scopes.is_empty() && credential.audience.is_none() => {}
        None => {
            let what = "it is no JWT, so its scopes and audience cannot be checked";
            wrong.push((RIGHTS, what.to_owned()));
        }
    }
    match answer.expires() {
        Some(end) if end <= now => {
            let what = format!("it expired at {end:.0}, and here it is {now:.0}");
            wrong.push((CLOCKS, what));
        }
        Some(_) => {}
        None => wrong.push((ISSUER, NO_EXPIRY.to_owned())),
    }
    wrong
}

/// Tolerated difference between clocks: what Kerberos tolerates, so that no clock with which a login works has new tokens
/// refused. A proof reads tokens that are seconds old.
const SKEW: Duration = Duration::from_mins(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::credential;
    use htvault::{AccessToken, Claims};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn answer(change: impl FnOnce(&mut Claims)) -> AccessTokenAnswer {
        let mut claims = Claims {
            issuer: Some("https://issuer.test/".to_owned()),
            subject: Some("cmsprod".to_owned()),
            audience: vec!["https://wlcg.cern.ch/jwt/v1/any".to_owned()],
            scopes: vec!["storage.read:/".to_owned(), "compute.read".to_owned()],
            expires: Some(at(1000)),
            ..Claims::default()
        };
        change(&mut claims);
        AccessTokenAnswer {
            token: AccessToken::from("x".to_owned()),
            claims: Some(claims),
            expire_time: None,
            warnings: Vec::new(),
        }
    }

    #[test]
    fn each_thing_that_is_wrong_is_named() {
        let mut credential = credential("cmsprod", "cms_crab");
        credential.scopes = vec!["storage.read:/".to_owned()];
        credential.audience = Some("https://wlcg.cern.ch/jwt/v1/any".to_owned());
        assert!(access_token(&credential, &answer(|_| {}), at(0)).is_ok());
        for (answer, what, advice) in [
            (answer(|c| c.issuer = None), "it names no issuer", ISSUER),
            (
                answer(|c| c.subject = Some(String::new())),
                "it names no subject",
                ISSUER,
            ),
            (
                answer(|c| c.scopes = vec!["storage.read:/x".to_owned()]),
                "scope storage.read:/ is missing",
                RIGHTS,
            ),
            (
                answer(|c| c.audience = Vec::new()),
                "audience https://wlcg.cern.ch/jwt/v1/any is missing",
                RIGHTS,
            ),
            (
                answer(|c| c.expires = Some(at(0))),
                "it expired at 1970-01-01T00:00:00Z, and here it is 1970-01-01T00:00:00Z",
                CLOCKS,
            ),
            (answer(|c| c.expires = None), NO_EXPIRY, ISSUER),
            (
                answer(|c| c.unsigned = true),
                "it is not signed (alg: none)",
                ISSUER,
            ),
            (
                answer(|c| c.issued = Some(at(24 * 3600))),
                "it is not valid before 1970-01-02T00:00:00Z, and here it is 1970-01-01T00:00:00Z",
                CLOCKS,
            ),
            (
                answer(|c| c.not_before = Some(at(301))),
                "it is not valid before 1970-01-01T00:05:01Z, and here it is 1970-01-01T00:00:00Z",
                CLOCKS,
            ),
        ] {
            let problem = access_token(&credential, &answer, at(0)).unwrap_err();
            // The fault, and the advice that fits it alone.
            let end = format!("asked for: {what}; {advice}");
            assert!(problem.message.ends_with(&end), "{end}: {problem}");
            let kind = match advice {
                CLOCKS => Kind::Clock,
                _ => Kind::WrongToken,
            };
            assert_eq!(problem.kind, kind);
        }
    }

    #[test]
    fn several_faults_come_with_the_advice_for_each() {
        let mut credential = credential("cmsprod", "cms_crab");
        credential.scopes = vec!["storage.read:/x".to_owned()];
        let answer = answer(|c| {
            c.expires = Some(at(-5));
            c.not_before = Some(at(100));
        });
        let problem = access_token(&credential, &answer, at(0)).unwrap_err();
        let advice = format!("{RIGHTS}; {CLOCKS}");
        assert!(problem.message.ends_with(&advice), "{problem}");
        assert_eq!(problem.kind, Kind::WrongToken, "more than a clock is wrong");
    }

    #[test]
    fn a_login_that_lives_less_than_vault_tokens_should_is_named_with_its_mount() {
        let credential = credential("cmsprod", "cms_crab");
        let (week, minutes) = (Duration::from_hours(7 * 24), Duration::from_mins(3));
        assert_eq!(short_login(&credential, week, week), None);
        let words = short_login(&credential, minutes, week).unwrap();
        let begin = "logins by kerberos-cms_crab live 3m, less than `tokens.lifetime` (7d), and ";
        assert!(words.starts_with(begin), "{words}");
        assert!(words.contains("raise `token_ttl`"), "{words}");
    }

    #[test]
    fn odd_claims_are_named() {
        let odd = answer(|c| c.odd = vec!["exp: a string".to_owned(), "jti: a number".to_owned()]);
        let words = odd_claims(&odd).unwrap();
        assert!(words.contains("(exp: a string; jti: a number)"), "{words}");
        assert_eq!(odd_claims(&answer(|_| {})), None);
    }

    #[test]
    fn an_opaque_token_passes_only_when_nothing_is_asked_of_it() {
        let mut credential = credential("cmsprod", "cms_crab");
        let mut opaque = answer(|_| {});
        opaque.claims = None;
        opaque.expire_time = Some(at(10));
        assert!(access_token(&credential, &opaque, at(0)).is_ok());
        credential.scopes = vec!["storage.read:/".to_owned()];
        assert!(access_token(&credential, &opaque, at(0)).is_err());
    }
}
