//! Access tokens: read from the place that a [`CredentialUrl`] names.
//!
//! Vault gives its cached token while that has `minimum_seconds` left, else it refreshes at the
//! issuer. A reduced token (`sts/`) is exchanged anew each time.

use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;

use crate::answer::Answered;
use crate::call::{Auth, Call};
use crate::claims::{Claims, TokenForm, is_b64token};
use crate::client::Client;
use crate::credential_url::CredentialUrl;
use crate::error::Error;
use crate::secret::{AccessToken, VaultToken};
use crate::vault_token::{MOST_WARNINGS, words};

/// Requirements on an access token.
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
    /// Claims of the token; `None` for an opaque one.
    pub claims: Option<Claims>,
    /// Expiry by Vault's account.
    pub expire_time: Option<Timestamp>,
    /// Warnings of the server, such as a refresh that failed while the cached token is good.
    pub warnings: Vec<String>,
}

impl AccessTokenAnswer {
    /// Expiry of the token: by its own claim, else by Vault's account.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.claims
            .as_ref()
            .and_then(|c| c.expires)
            .or(self.expire_time)
    }
}

#[derive(Deserialize)]
pub(crate) struct Data {
    access_token: String,
    #[serde(default)]
    expire_time: Option<Timestamp>,
}

impl Client {
    /// Reads an access token of the credential at `url`, which must be at one of this client's
    /// servers.
    ///
    /// ```no_run
    /// # async fn example(client: &htvault::Client, token: &htvault::VaultToken) -> Result<(), htvault::Error> {
    /// use htvault::AccessTokenRequest;
    ///
    /// let url = client.settings().sts_url("cms", "cmsprod", "production")?;
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
        self.settings().check_server(url)?;
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
                query: &query,
                ..Call::new(Method::GET, url.path(), Auth::Token(vault_token))
            })
            .await?;
        read(answer)
    }
}

/// The access token of an answer.
pub(crate) fn read(answer: Answered<Data>) -> Result<AccessTokenAnswer, Error> {
    let warnings = answer.envelope.warnings.clone();
    let request_name = answer.request.clone();
    let data = answer.data()?;
    let warnings = words(warnings, MOST_WARNINGS, &[&data.access_token]);
    if !is_b64token(&data.access_token) {
        return Err(Error::bad_answer(
            &request_name,
            "the answer's access token is empty or holds characters that no token has",
        ));
    }
    let claims = match TokenForm::of(&data.access_token) {
        TokenForm::Jwt(claims) => Some(claims),
        TokenForm::Opaque => None,
        TokenForm::NotAToken => {
            return Err(Error::bad_answer(
                &request_name,
                "the answer's access token begins like a JWT and is none: a part of it may be missing",
            ));
        }
    };
    Ok(AccessTokenAnswer {
        claims,
        token: AccessToken::from(data.access_token),
        expire_time: data.expire_time,
        warnings,
    })
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
    fn answered(token: &str) -> Result<AccessTokenAnswer, Error> {
        read(Answered {
            request: "reading it".to_owned(),
            envelope: crate::answer::Envelope {
                data: Some(Data {
                    access_token: token.to_owned(),
                    expire_time: None,
                }),
                auth: None,
                warnings: None,
            },
        })
    }

    #[test]
    fn half_a_token_is_a_bad_answer_and_opaque_or_encrypted_ones_are_tokens() {
        const HALVES: [&str; 6] = [
            "eyJhbGciOiJSUzI1NiJ9.eyJleHAi",
            "eyJhbGciOiJSUzI1NiJ9",
            "eyJhbGciOiJSUzI1NiJ9.eyJleHAi.c2ln",
            "one.two.three",
            "",
            "opaque\n",
        ];
        for half in HALVES {
            let error = answered(half).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::BadAnswer, "{half}");
            let text = error.to_string();
            assert!(half.is_empty() || !text.contains(half), "{text}");
        }
        for token in ["opaque", "a.b", "eyJhbGciOiJkaXIifQ..aXY.Y2lwaGVy.dGFn"] {
            assert_eq!(answered(token).unwrap().claims, None, "{token}");
        }
        assert!(
            answered("e30.eyJzdWIiOiJhIn0.c2ln")
                .unwrap()
                .claims
                .is_some()
        );
    }
}
