//! Onboarding: a person logs in by OIDC once, so that a refresh token is stored at Vault.
//!
//! The device flow: [`Client::start_device_flow`] gives a link for the person; [`Client::poll`] is
//! asked again and again, no more often than the server wants, until the person has approved;
//! [`Client::store_refresh_token`] stores what came of it. Kerberos logins can read what is stored,
//! but never store it.

use std::fmt;
use std::time::Duration;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use reqwest::Method;
use ring::error::Unspecified;
use ring::rand::{SecureRandom as _, SystemRandom};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::json;
use url::Url;

use crate::answer::Answered;
use crate::call::{Auth, Call};
use crate::client::Client;
use crate::credential_url::CredentialUrl;
use crate::error::{Error, ErrorKind};
use crate::secret::{RefreshToken, VaultToken};
use crate::text::{LIMIT, printable};
use crate::vault_token::{IssuedToken, issued, plain};

/// Pause between two polls, where the server does not say.
const USUAL_INTERVAL: Duration = Duration::from_secs(5);
/// Bounds of the pause, whatever the server says.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
const LONGEST_INTERVAL: Duration = Duration::from_mins(5);
/// Longest link, in bytes: browsers take no much longer ones.
const LONGEST_URL: usize = 8192;

/// A login by OIDC that a person has to approve.
#[derive(Clone)]
pub struct DeviceFlow {
    /// The link that the person opens.
    pub url: String,
    /// The code that the person types or compares, where it is not in the link already.
    pub user_code: Option<String>,
    /// The least time between two polls; [`Poll::SlowDown`] doubles it.
    pub interval: Duration,
    poll_path: String,
    state: SecretString,
    nonce: SecretString,
}

impl fmt::Debug for DeviceFlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // State and nonce, which the link may hold too, would let others finish the login.
        let url = self.url.split(['?', '#']).next().unwrap_or_default();
        f.debug_struct("DeviceFlow")
            .field("url", &url)
            .field("interval", &self.interval)
            .field("poll_path", &self.poll_path)
            .finish_non_exhaustive()
    }
}

/// Outcome of a poll.
#[derive(Debug)]
pub enum Poll {
    /// The person has not approved yet: ask again after the flow's interval.
    Pending,
    /// As [`Poll::Pending`], but too early: the flow's interval has been doubled.
    SlowDown,
    /// The person has approved.
    Done(Box<OidcLogin>),
}

/// A login by OIDC.
#[derive(Clone, Debug)]
pub struct OidcLogin {
    /// The login token, which may store the refresh token.
    pub login: IssuedToken,
    /// Owner of the credential.
    pub credkey: String,
    /// Refresh token to store.
    pub refresh_token: RefreshToken,
}

#[derive(Deserialize)]
pub(crate) struct FlowData {
    #[serde(rename = "auth_url")]
    url: String,
    #[serde(default)]
    user_code: Option<String>,
    state: String,
    #[serde(default, deserialize_with = "seconds")]
    poll_interval: Option<u64>,
}

/// Seconds as a number or, as the server sends them, in a string.
fn seconds<'de, D: Deserializer<'de>>(input: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Seconds {
        Number(u64),
        Text(String),
    }
    Ok(match Option::<Seconds>::deserialize(input)? {
        Some(Seconds::Number(seconds)) => Some(seconds),
        Some(Seconds::Text(text)) => text.trim().parse().ok(),
        None => None,
    })
}

impl Client {
    /// Begins a device flow for a role of an issuer.
    ///
    /// ```no_run
    /// # async fn example(client: &htvault::Client) -> Result<(), htvault::Error> {
    /// use htvault::Poll;
    ///
    /// let mut flow = client.start_device_flow("cms", "crab").await?;
    /// println!("open {}", flow.url);
    /// let login = loop {
    ///     tokio::time::sleep(flow.interval).await;
    ///     if let Poll::Done(login) = client.poll(&mut flow).await? {
    ///         break login;
    ///     }
    /// };
    /// let url = client.settings().creds_url("cms", &login.credkey, "crab")?;
    /// client.store_refresh_token(&url, "cms", &login).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The issuer or role has no OIDC at this Vault; and what any request may give.
    pub async fn start_device_flow(&self, issuer: &str, role: &str) -> Result<DeviceFlow, Error> {
        let nonce = nonce()?;
        let path = |step| self.settings().paths.oidc(issuer, role, step);
        let redirect_uri = format!("{}{}", self.server(), path("callback")?);
        let answer = self
            .call::<FlowData>(Call {
                body: Some(json!({
                    "role": role, "client_nonce": nonce, "redirect_uri": redirect_uri,
                })),
                ..Call::new(Method::POST, &path("auth_url")?, Auth::Nothing)
            })
            .await?;
        begun(answer, role, &nonce, path("poll")?)
    }

    /// Asks once whether the person has approved. Doubles the flow's interval when the server
    /// finds it too short.
    ///
    /// # Errors
    /// The flow has expired, was refused by the person or belongs to another caller: it is over,
    /// begin anew; and what any request may give.
    pub async fn poll(&self, flow: &mut DeviceFlow) -> Result<Poll, Error> {
        let answer = self
            .call::<IgnoredAny>(Call {
                body: Some(json!({
                    "state": flow.state.expose_secret(),
                    "client_nonce": flow.nonce.expose_secret(),
                })),
                // The approval is handed out once.
                once: true,
                ..Call::new(Method::POST, &flow.poll_path, Auth::Nothing)
            })
            .await;
        let answer = match answer {
            Err(error) if error.words().contains("authorization_pending") => {
                return Ok(Poll::Pending);
            }
            Err(error) if error.words().contains("slow_down") => {
                flow.interval = flow.interval.saturating_mul(2).min(LONGEST_INTERVAL);
                return Ok(Poll::SlowDown);
            }
            answer => answer?,
        };
        Ok(Poll::Done(Box::new(approved(answer)?)))
    }

    /// Stores the refresh token of a login at `url`, in the name of the issuer `issuer`. Read an
    /// access token afterwards to see that it works.
    ///
    /// # Errors
    /// [`ErrorKind::Forbidden`](crate::ErrorKind::Forbidden) when the login may not write there;
    /// and what any request may give.
    pub async fn store_refresh_token(
        &self,
        url: &CredentialUrl,
        issuer: &str,
        login: &OidcLogin,
    ) -> Result<(), Error> {
        self.settings().check_server(url)?;
        self.call_for_nothing(Call {
            body: Some(json!({
                "server": issuer, "refresh_token": login.refresh_token.expose(),
            })),
            ..Call::new(Method::POST, url.path(), Auth::Token(&login.login.token))
        })
        .await
    }

    /// Makes Vault forget the refresh token stored at `url`.
    ///
    /// # Errors
    /// [`ErrorKind::Forbidden`](crate::ErrorKind::Forbidden) when the token may not delete there;
    /// and what any request may give.
    pub async fn forget_refresh_token(
        &self,
        url: &CredentialUrl,
        vault_token: &VaultToken,
    ) -> Result<(), Error> {
        self.settings().check_server(url)?;
        let call = Call::new(Method::DELETE, url.path(), Auth::Token(vault_token));
        self.call_for_nothing(call).await
    }
}

/// A random text that ties the polls to this caller.
fn nonce() -> Result<String, Error> {
    let mut bytes = [0; 16];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|Unspecified| {
        Error::new(
            ErrorKind::LocalResource,
            "",
            "the system has no random numbers",
        )
    })?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// The flow of an answer.
pub(crate) fn begun(
    answer: Answered<FlowData>,
    role: &str,
    nonce: &str,
    poll_path: String,
) -> Result<DeviceFlow, Error> {
    let request = answer.request.clone();
    let data = answer.data()?;
    if data.url.is_empty() {
        // Vault's answer to a role that it does not know.
        let words = format!("no link was given: the role {role} is not known for this issuer");
        return Err(Error::bad_answer(&request, &words));
    }
    let url = Url::parse(&data.url).ok();
    // The parser has escaped what is no part of a URL.
    let url = url.filter(|url| {
        matches!(url.scheme(), "https" | "http") && url.as_str().len() <= LONGEST_URL
    });
    let Some(url) = url else {
        let words = "the link of the answer is no URL, or one that nobody can open";
        return Err(Error::bad_answer(&request, words));
    };
    Ok(DeviceFlow {
        url: url.into(),
        user_code: data.user_code.map(|code| printable(&code, LIMIT)),
        interval: (data.poll_interval)
            .map_or(USUAL_INTERVAL, Duration::from_secs)
            .clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL),
        poll_path,
        state: SecretString::from(data.state),
        nonce: SecretString::from(nonce.to_owned()),
    })
}

/// The login of a person who has approved.
pub(crate) fn approved(mut answer: Answered<IgnoredAny>) -> Result<OidcLogin, Error> {
    let request = answer.request.clone();
    let metadata = answer
        .envelope
        .auth
        .as_mut()
        .and_then(|auth| auth.metadata.take());
    let (credkey, refresh_token) = metadata
        .and_then(|metadata| Some((metadata.credkey?, metadata.oauth2_refresh_token?)))
        .ok_or_else(|| {
            Error::bad_answer(&request, "the login has no credkey or no refresh token")
        })?;
    let login = issued(answer, None, &[&refresh_token])?;
    let secrets = [refresh_token.as_str(), login.token.expose()];
    let credkey = plain(&request, "credkey", credkey, &secrets)?;
    Ok(OidcLogin {
        login: IssuedToken {
            token: login.token.of(&credkey),
            ..login
        },
        credkey,
        refresh_token: RefreshToken::from(refresh_token),
    })
}
