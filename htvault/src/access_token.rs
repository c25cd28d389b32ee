//! Access tokens: read from the place that a [`CredentialUrl`] names.
//!
//! Vault gives its cached token while that has `minimum_seconds` left, else it refreshes at the
//! issuer. A reduced token (`sts/`) is exchanged anew each time.

use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;

use crate::claims::Claims;
use crate::client::{Auth, Call, Client};
use crate::credential_url::CredentialUrl;
use crate::error::{Error, ErrorKind};
use crate::secret::{AccessToken, VaultToken};

/// What an access token must be like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessTokenRequest {
    /// Seconds that it must have left.
    pub minimum_seconds: Option<u64>,
    /// Scopes to reduce it to (separated by commas or spaces).
    pub scopes: Option<String>,
    /// Audience to make it for (several separated by commas or spaces).
    pub audience: Option<String>,
}

/// An access token as Vault gave it.
#[derive(Clone, Debug)]
pub struct AccessTokenAnswer {
    /// The token.
    pub token: AccessToken,
    /// What the token says of itself; `None` for an opaque one.
    pub claims: Option<Claims>,
    /// When it ends, as Vault says.
    pub expire_time: Option<Timestamp>,
    /// What the server warns of, such as a refresh that failed while the cached token is good.
    pub warnings: Vec<String>,
}

impl AccessTokenAnswer {
    /// When the token ends: by its own claim, else by what Vault says.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.claims
            .as_ref()
            .and_then(|c| c.expires)
            .or(self.expire_time)
    }
}

#[derive(Deserialize)]
struct Data {
    access_token: String,
    #[serde(default)]
    expire_time: Option<Timestamp>,
}

/// The best access token that could be had.
#[derive(Clone, Debug)]
pub struct BestAccessToken {
    /// The token.
    pub answer: AccessTokenAnswer,
    /// When it has less life left than was asked for: why. The words of the server.
    pub less_because: Option<String>,
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
    /// As [`Client::access_token`]; the first error, where the cached token is no better than what
    /// the caller holds.
    ///
    /// ```no_run
    /// # async fn example(client: &htvault::Client, token: &htvault::VaultToken) -> Result<(), htvault::Error> {
    /// use htvault::{AccessTokenRequest, CredentialUrl, clock::{Clock as _, SystemClock}};
    ///
    /// let url = CredentialUrl::creds(client.server(), "cms", "cmsprod", "default")?;
    /// let request = AccessTokenRequest { minimum_seconds: Some(2400), ..Default::default() };
    /// let best = client.best_access_token(&url, token, &request, None, SystemClock.now()).await?;
    /// if let Some(why) = best.less_because {
    ///     eprintln!("the issuer does not renew: {why}");
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
        let first = match self.access_token(url, vault_token, request).await {
            Ok(answer) => {
                return Ok(BestAccessToken {
                    answer,
                    less_because: None,
                });
            }
            Err(error) => error,
        };
        let held = holds.map_or(0, |ends| ends.duration_since(now).as_secs().max(0));
        let least = u64::try_from(held).unwrap_or(0).saturating_add(1);
        let may_have_less = matches!(
            first.kind(),
            ErrorKind::NotLongEnough | ErrorKind::RefreshRefused
        );
        // An exchange has no cache to fall back on.
        if !may_have_less
            || !url.is_cached()
            || request.minimum_seconds.is_none_or(|asked| asked <= least)
        {
            return Err(first);
        }
        let less = AccessTokenRequest {
            minimum_seconds: Some(least),
            ..request.clone()
        };
        match self.access_token(url, vault_token, &less).await {
            Ok(answer) if answer.expires() > holds => Ok(BestAccessToken {
                answer,
                less_because: Some(first.words().to_owned()),
            }),
            _ => Err(first),
        }
    }

    /// Reads an access token of the credential at `url`, whose host must be this client's server
    /// (only its path is used).
    ///
    /// ```no_run
    /// # async fn example(client: &htvault::Client, token: &htvault::VaultToken) -> Result<(), htvault::Error> {
    /// use htvault::{AccessTokenRequest, CredentialUrl};
    ///
    /// let url = CredentialUrl::sts(client.server(), "cms", "cmsprod", "production")?;
    /// let request = AccessTokenRequest {
    ///     minimum_seconds: Some(600),
    ///     scopes: Some("storage.read:/".to_owned()),
    ///     audience: Some("https://dav.example.org".to_owned()),
    /// };
    /// let answer = client.access_token(&url, token, &request).await?;
    /// println!("ends {:?}, scopes {:?}", answer.expires(), answer.claims.map(|c| c.scopes));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::ErrorKind); after
    /// [`NotLongEnough`](crate::ErrorKind::NotLongEnough) or
    /// [`RefreshRefused`](crate::ErrorKind::RefreshRefused) a smaller `minimum_seconds` may
    /// succeed.
    pub async fn access_token(
        &self,
        url: &CredentialUrl,
        vault_token: &VaultToken,
        request: &AccessTokenRequest,
    ) -> Result<AccessTokenAnswer, Error> {
        let minimum = request.minimum_seconds.map(|s| s.to_string());
        // HTCondor's credmon sends `audience` on a cached credential, which Vault ignores with a
        // warning, and `audiences` on an exchange.
        let audience_name = if url.is_cached() {
            "audience"
        } else {
            "audiences"
        };
        let query: Vec<(&str, &str)> = [
            ("minimum_seconds", minimum.as_deref()),
            ("scopes", request.scopes.as_deref()),
            (audience_name, request.audience.as_deref()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
        let answer = self
            .call::<Data>(Call {
                method: Method::GET,
                path: url.path(),
                query: &query,
                auth: Auth::Token(vault_token),
                body: None,
            })
            .await?;
        let warnings = answer.envelope.warnings.clone().unwrap_or_default();
        let request_name = answer.request.clone();
        let data = answer.data()?;
        if data.access_token.is_empty() || data.access_token.contains(char::is_whitespace) {
            return Err(Error::bad_answer(
                &request_name,
                "the answer's access token is empty or not one word".to_owned(),
            ));
        }
        Ok(AccessTokenAnswer {
            claims: Claims::read(&data.access_token),
            token: AccessToken::from(data.access_token),
            expire_time: data.expire_time,
            warnings,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opaque_token_ends_when_vault_says() {
        let ends: Timestamp = "2026-11-22T08:09:03Z".parse().unwrap();
        let mut answer = AccessTokenAnswer {
            claims: Claims::read("opaque"),
            token: AccessToken::from("opaque".to_owned()),
            expire_time: Some(ends),
            warnings: Vec::new(),
        };
        assert_eq!(answer.expires(), Some(ends));
        let claimed = Timestamp::from_second(ends.as_second() - 1).unwrap();
        answer.claims = Some(Claims {
            expires: Some(claimed),
            ..Claims::default()
        });
        assert_eq!(
            answer.expires(),
            Some(claimed),
            "the token's own word counts more"
        );
    }
}
