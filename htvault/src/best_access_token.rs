//! The best access token available: one with the lifetime asked for, or else what Vault still has in
//! its cache.
//!
//! The one fall back for everybody: [`Client::best_access_token`] for who has a client, the function
//! [`best_access_token`] for who asks in another way. What always holds: at most two requests are
//! made, the second only when the first answer says that a shorter life may be had; a token that the
//! second gives outlives the one that the caller holds, as far as both say when they end. One that the
//! first gives is not compared: it has the lifetime asked for.

use std::future::Future;

use jiff::Timestamp;

use crate::access_token::{AccessTokenAnswer, AccessTokenRequest};
use crate::client::Client;
use crate::credential_url::CredentialUrl;
use crate::error::{Error, ErrorKind};
use crate::secret::VaultToken;

/// Seconds of life that make an access token better than none.
const LEAST_USEFUL: u64 = 10;

/// The best access token available.
#[derive(Clone, Debug)]
pub struct BestAccessToken<E = Error> {
    /// The token.
    pub answer: AccessTokenAnswer,
    /// Error of the request with the seconds asked for, when the token may have less left.
    pub less_because: Option<E>,
}

impl Client {
    /// Reads an access token with the seconds asked for, or else the best one that Vault still has
    /// in its cache, if that ends later than `holds`, the end of the one that the caller has. So a
    /// caller gets through an outage of the issuer, or the refusal of a refresh token, for as long
    /// as the cached token lives.
    ///
    /// `now` is the present time.
    ///
    /// # Errors
    /// As [`Client::access_token`]; the first error, where Vault has no token that is better than
    /// what the caller holds.
    ///
    /// ```no_run
    /// # async fn example(client: &htvault::Client, token: &htvault::VaultToken) -> Result<(), htvault::Error> {
    /// use htvault::{AccessTokenRequest, clock::{Clock as _, SystemClock}};
    ///
    /// let url = client.settings().creds_url("cms", "cmsprod", "default")?;
    /// let request = AccessTokenRequest { minimum_seconds: Some(2400), ..Default::default() };
    /// let best = client.best_access_token(&url, token, &request, None, SystemClock.now()).await?;
    /// if let Some(error) = best.less_because {
    ///     eprintln!("the issuer does not renew: {error}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn best_access_token(
        &self,
        url: &CredentialUrl,
        vault_token: &VaultToken,
        request: &AccessTokenRequest,
        holds: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<BestAccessToken, Error> {
        let ask = async |request| self.access_token(url, vault_token, &request).await;
        best_access_token(url, request, holds, || now, Error::kind, ask).await
    }
}

/// The same for who asks in another way than by a [`Client`]: `ask` makes a request, `kind` sorts
/// its error, `now` gives the present time.
///
/// # Errors
/// As [`Client::best_access_token`].
pub async fn best_access_token<E, Asked>(
    url: &CredentialUrl,
    request: &AccessTokenRequest,
    holds: Option<Timestamp>,
    now: impl Fn() -> Timestamp,
    kind: impl Fn(&E) -> ErrorKind,
    ask: impl Fn(AccessTokenRequest) -> Asked,
) -> Result<BestAccessToken<E>, E>
where
    Asked: Future<Output = Result<AccessTokenAnswer, E>>,
{
    let first = match ask(request.clone()).await {
        Ok(answer) => {
            return Ok(BestAccessToken {
                answer,
                less_because: None,
            });
        }
        Err(error) => error,
    };
    let may_have_less = match kind(&first) {
        ErrorKind::NotLongEnough => true,
        // An exchange has no cache to fall back on.
        ErrorKind::RefreshRefused => url.is_cached(),
        _ => false,
    };
    let less = seconds_to_fall_back_to(request.minimum_seconds, holds, now());
    let (true, Some(less)) = (may_have_less, less) else {
        return Err(first);
    };
    let request = AccessTokenRequest {
        minimum_seconds: Some(less),
        ..request.clone()
    };
    match ask(request).await {
        Ok(answer) if outlives(&answer, holds) => Ok(BestAccessToken {
            answer,
            less_because: Some(first),
        }),
        // The first answer tells more: why there is nothing new.
        Ok(_) => Err(first),
        Err(error) if kind(&error) == ErrorKind::NotLongEnough => Err(first),
        // This one wants another reaction: the vault token is dead, the server wants no requests.
        Err(error) => Err(error),
    }
}

/// Seconds to ask for when those that were asked for cannot be had; `None` when less is no gain.
fn seconds_to_fall_back_to(
    asked: Option<u64>,
    holds: Option<Timestamp>,
    now: Timestamp,
) -> Option<u64> {
    let present = holds.map_or(0, |ends| ends.as_second().saturating_sub(now.as_second()));
    let present = u64::try_from(present).unwrap_or(0);
    let least = present.saturating_add(1).max(LEAST_USEFUL);
    asked.is_some_and(|asked| least < asked).then_some(least)
}

/// True for a token that ends later than the present one, or that does not say when it ends.
fn outlives(answer: &AccessTokenAnswer, holds: Option<Timestamp>) -> bool {
    match (answer.expires(), holds) {
        (Some(ends), Some(present)) => ends > present,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::secret::AccessToken;

    const NOW: i64 = 1_800_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(NOW + seconds).unwrap()
    }

    fn ends(seconds: Option<i64>) -> AccessTokenAnswer {
        AccessTokenAnswer {
            token: AccessToken::from("opaque".to_owned()),
            claims: None,
            expire_time: seconds.map(at),
            warnings: Vec::new(),
        }
    }

    /// What comes of these answers, and which seconds were asked for.
    async fn best(
        path: &str,
        holds: Option<i64>,
        answers: &[Result<AccessTokenAnswer, ErrorKind>],
    ) -> (Result<BestAccessToken<ErrorKind>, ErrorKind>, Vec<u64>) {
        let url = format!("https://vault.test:8200/v1/secret/oauth/{path}");
        let request = AccessTokenRequest {
            minimum_seconds: Some(2400),
            ..AccessTokenRequest::default()
        };
        let asked = RefCell::new(Vec::new());
        let ask = async |request: AccessTokenRequest| {
            asked.borrow_mut().push(request.minimum_seconds.unwrap());
            answers[asked.borrow().len() - 1].clone()
        };
        let (url, holds) = (url.parse().unwrap(), holds.map(at));
        let best = best_access_token(&url, &request, holds, || at(0), |kind| *kind, ask).await;
        (best, asked.into_inner())
    }

    const CREDS: &str = "creds/cms/cmsprod:default";
    const STS: &str = "sts/cms/cmsprod:default";

    #[tokio::test]
    async fn less_is_asked_for_down_to_what_beats_the_token_that_is_held() {
        for kind in [ErrorKind::NotLongEnough, ErrorKind::RefreshRefused] {
            for (holds, seconds) in [(None, 10), (Some(-5), 10), (Some(3), 10), (Some(500), 501)] {
                let (best, asked) = best(CREDS, holds, &[Err(kind), Ok(ends(Some(900)))]).await;
                assert_eq!(best.unwrap().less_because, Some(kind));
                assert_eq!(asked, [2400, seconds], "{holds:?}");
            }
        }
        // One that does not say when it ends is taken.
        let refused = Err(ErrorKind::NotLongEnough);
        let (best, _) = best(CREDS, Some(500), &[refused, Ok(ends(None))]).await;
        assert!(best.is_ok());
    }

    #[tokio::test]
    async fn nothing_is_asked_again_where_it_is_no_gain() {
        let (good, asked) = best(CREDS, None, &[Ok(ends(Some(3600)))]).await;
        assert_eq!(good.unwrap().less_because, None);
        assert_eq!(asked, [2400]);
        for (path, holds, kind) in [
            (CREDS, Some(2400), ErrorKind::NotLongEnough),
            (CREDS, None, ErrorKind::TokenRejected),
            (CREDS, None, ErrorKind::Unreachable),
            (STS, None, ErrorKind::RefreshRefused),
        ] {
            let (best, asked) = best(path, holds, &[Err(kind)]).await;
            assert_eq!((best.unwrap_err(), asked.len()), (kind, 1), "{kind:?}");
        }
    }

    #[tokio::test]
    async fn the_error_is_the_one_that_tells_more() {
        let refused = || Err(ErrorKind::RefreshRefused);
        for (second, told) in [
            (Err(ErrorKind::NotLongEnough), ErrorKind::RefreshRefused),
            (Ok(ends(Some(500))), ErrorKind::RefreshRefused),
            (Err(ErrorKind::TokenRejected), ErrorKind::TokenRejected),
            (Err(ErrorKind::RateLimited), ErrorKind::RateLimited),
        ] {
            let (best, asked) = best(CREDS, Some(500), &[refused(), second]).await;
            assert_eq!((best.unwrap_err(), asked.len()), (told, 2));
        }
    }

    #[test]
    fn no_time_is_too_far() {
        for now in [Timestamp::MIN, at(0), Timestamp::MAX] {
            for holds in [None, Some(Timestamp::MIN), Some(Timestamp::MAX)] {
                let least = seconds_to_fall_back_to(Some(u64::MAX), holds, now);
                assert!(least.is_some_and(|least| least >= LEAST_USEFUL));
                assert_eq!(seconds_to_fall_back_to(None, holds, now), None);
            }
        }
    }
}
