//! Whether an access token is what jobs are to get, and whether the credmon made one. Pure.

use htvault::AccessTokenAnswer;
use jiff::Timestamp;

use crate::delivery::Credential;
use crate::problem::{Cause, Kind, Problem};
use crate::transport::Observed;

/// Checks what an access token says of itself against what the configuration asks for.
///
/// A token that is no JWT can be checked for its end only, and fails when scopes or an audience
/// are asked for.
///
/// # Errors
/// A [`Kind::WrongToken`] that names all that is wrong.
pub fn access_token(
    credential: &Credential,
    answer: &AccessTokenAnswer,
    now: Timestamp,
) -> Result<(), Problem> {
    let mut wrong = Vec::new();
    match &answer.claims {
        Some(claims) => {
            if claims.issuer.as_deref().is_none_or(str::is_empty) {
                wrong.push("it names no issuer".to_owned());
            }
            if claims.subject.as_deref().is_none_or(str::is_empty) {
                wrong.push("it names no subject".to_owned());
            }
            let absent = |asked: &&str| !claims.scopes.iter().any(|has| has == asked);
            let missing: Vec<&str> = credential
                .scopes
                .iter()
                .map(String::as_str)
                .filter(absent)
                .collect();
            if !missing.is_empty() {
                wrong.push(format!("scope {} is missing", missing.join(", ")));
            }
            let audiences = credential.audience.iter().flat_map(|list| list.split(','));
            for audience in
                audiences.filter(|asked| !claims.audience.iter().any(|has| has == asked))
            {
                wrong.push(format!("audience {audience} is missing"));
            }
            if claims
                .not_before
                .is_some_and(|begin| begin > crate::moment::after(now, SKEW))
            {
                wrong.push("it is not valid yet: check the clocks".to_owned());
            }
        }
        None if credential.scopes.is_empty() && credential.audience.is_none() => {}
        None => wrong.push("it is no JWT, so its scopes and audience cannot be checked".to_owned()),
    }
    match answer.expires() {
        Some(end) if end <= now => wrong.push(format!("it ended at {end:.0}")),
        Some(_) => {}
        None => wrong.push("it has no end".to_owned()),
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Problem::new(
        Cause::credential(credential),
        Kind::WrongToken,
        format!(
            "the access token read at {} is not what is asked for: {}; correct `scopes` or `audience`, or \
             have the issuer's client or the role at Vault extended",
            credential.url,
            wrong.join("; ")
        ),
    ))
}

/// Clocks may differ by this much.
const SKEW: std::time::Duration = std::time::Duration::from_mins(1);

/// Whether the credmon has made an access token since what is stored was stored.
///
/// Times of a credd are whole seconds, and a quick credmon serves within the second of the push.
/// `served_before` is what was seen just before that push: the same time again is no proof.
#[must_use]
pub fn is_served(observed: &Observed, served_before: Option<Timestamp>) -> bool {
    match (observed.stored, observed.served) {
        (Some(stored), Some(served)) => served >= stored && Some(served) != served_before,
        _ => false,
    }
}

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
        for (answer, what) in [
            (answer(|c| c.issuer = None), "it names no issuer"),
            (
                answer(|c| c.subject = Some(String::new())),
                "it names no subject",
            ),
            (
                answer(|c| c.scopes = vec!["storage.read:/x".to_owned()]),
                "scope storage.read:/ is missing",
            ),
            (
                answer(|c| c.audience = Vec::new()),
                "audience https://wlcg.cern.ch/jwt/v1/any is missing",
            ),
            (
                answer(|c| c.expires = Some(at(0))),
                "it ended at 1970-01-01T00:00:00Z",
            ),
            (answer(|c| c.expires = None), "it has no end"),
            (
                answer(|c| c.not_before = Some(at(61))),
                "it is not valid yet",
            ),
        ] {
            let problem = access_token(&credential, &answer, at(0)).unwrap_err();
            assert!(problem.message.contains(what), "{what}: {problem}");
            assert_eq!(problem.kind, Kind::WrongToken);
        }
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

    #[test]
    fn served_means_after_the_push() {
        let seen = |stored, served| Observed {
            stored: Some(at(stored)),
            served: Some(at(served)),
            ..Observed::default()
        };
        assert!(is_served(&seen(5, 6), Some(at(4))));
        assert!(is_served(&seen(5, 5), Some(at(4))), "within the second");
        assert!(
            !is_served(&seen(5, 5), Some(at(5))),
            "that was there before"
        );
        assert!(is_served(&seen(5, 5), None));
        assert!(!is_served(&seen(5, 4), None));
        assert!(!is_served(&Observed::default(), None));
    }
}
