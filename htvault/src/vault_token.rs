//! Vault tokens: from a Kerberos login, as children of another, looked up, revoked.
//!
//! A child dies with its parent. A life longer than the mount's maximum is cut by the server, which
//! says so in a warning.

use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use crate::answer::{Answered, hide, repeats};
use crate::call::{Auth, Call};
use crate::client::Client;
use crate::error::{Action, Error, ErrorKind};
use crate::secret::VaultToken;
use crate::text::{LIMIT, printable};

/// Most warnings and policies of an answer that are passed on: real ones have a few.
pub(crate) const MOST_WARNINGS: usize = 10;
const MOST_POLICIES: usize = 200;

/// A token that Vault has just made.
#[derive(Clone, Debug)]
pub struct IssuedToken {
    /// The token.
    pub token: VaultToken,
    /// Its accessor: names it to Vault's admins, opens nothing. Empty for batch tokens.
    pub accessor: String,
    /// Its life from now on, in seconds.
    pub lease_seconds: u64,
    /// Its policies.
    pub policies: Vec<String>,
    /// Account that logged in (`metadata.user`), at a login.
    pub user: Option<String>,
    /// Warnings of the server, such as a lifetime that was cut.
    pub warnings: Vec<String>,
}

/// Properties of a living token, from a look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenInfo {
    /// Its accessor.
    pub accessor: String,
    /// Life left, in seconds. A standby of an OpenBao cluster may answer an old value.
    pub ttl_seconds: u64,
    /// Expiry; `None` for a token without end.
    pub expires: Option<Timestamp>,
    /// Its policies.
    pub policies: Vec<String>,
}

#[derive(Deserialize)]
pub(crate) struct LookupData {
    #[serde(default)]
    accessor: String,
    ttl: u64,
    #[serde(default)]
    expire_time: Option<Timestamp>,
    #[serde(default)]
    policies: Option<Vec<String>>,
}

impl Client {
    /// Logs in by Kerberos for a role of an issuer. The token's life is the mount's default, 28
    /// days as htvault-config sets it.
    ///
    /// # Errors
    /// [`ErrorKind::LoginRefused`](crate::ErrorKind::LoginRefused) for a bad ticket;
    /// [`ErrorKind::TokenRejected`](crate::ErrorKind::TokenRejected) when issuer and role have no
    /// mount; and what any request may give. The error names the principal.
    ///
    /// ```no_run
    /// # async fn example(client: &htvault::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use htvault::kerberos::Ticket;
    ///
    /// let ticket = Ticket::from_keytab("cmsprod@EXAMPLE.ORG", "/etc/cmsprod.keytab".as_ref())?;
    /// let negotiate = ticket.negotiate("host", client.settings().kerberos_host())?;
    /// let login = client.login("cms", "production", &negotiate).await?;
    /// let vault_token = client.create_token(&login.token, 7 * 86_400).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "kerberos")]
    pub async fn login(
        &self,
        issuer: &str,
        role: &str,
        negotiate: &crate::kerberos::NegotiateToken,
    ) -> Result<IssuedToken, Error> {
        let path = self.settings().paths.kerberos_login(issuer, role)?;
        let answer = self
            .call::<IgnoredAny>(Call {
                // A second address would refuse the same ticket as replayed, and that reads like a wrong keytab.
                once: true,
                ..Call::new(Method::POST, &path, Auth::Negotiate(negotiate.expose()))
            })
            .await
            .map_err(|error| error.of_account(&negotiate.principal))?;
        issued(answer, Some(&negotiate.principal), &[negotiate.expose()])
    }

    /// Makes a child of `parent` that lives `ttl_seconds` (or less, where the server cuts it).
    ///
    /// ```no_run
    /// # async fn example(client: &htvault::Client, login: &htvault::IssuedToken) -> Result<(), htvault::Error> {
    /// let week = client.create_token(&login.token, 7 * 86_400).await?;
    /// println!("{} lives {} s", week.accessor, week.lease_seconds);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What any request may give.
    pub async fn create_token(
        &self,
        parent: &VaultToken,
        ttl_seconds: u64,
    ) -> Result<IssuedToken, Error> {
        let answer = self
            .call::<IgnoredAny>(Call {
                // Only seconds are understood by every version of Vault.
                body: Some(json!({"ttl": format!("{ttl_seconds}s"), "renewable": "false"})),
                // A child that was made without an answer has an accessor that nobody knows.
                once: true,
                ..Call::new(Method::POST, "/v1/auth/token/create", Auth::Token(parent))
            })
            .await?;
        issued(answer, parent.owner(), &[parent.expose()])
    }

    /// Asks Vault about a token.
    ///
    /// ```no_run
    /// # async fn example(client: &htvault::Client, token: &htvault::VaultToken) {
    /// match client.lookup_self(token).await {
    ///     Ok(info) => println!("lives {} s more", info.ttl_seconds),
    ///     Err(error) if error.kind() == htvault::ErrorKind::TokenRejected => println!("dead"),
    ///     Err(error) => println!("not known: {error}"),
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::TokenRejected`](crate::ErrorKind::TokenRejected) when it is dead; and what any
    /// request may give.
    pub async fn lookup_self(&self, token: &VaultToken) -> Result<TokenInfo, Error> {
        let path = "/v1/auth/token/lookup-self";
        let call = Call::new(Method::GET, path, Auth::Token(token));
        looked_up(self.call(call).await?, &[token.expose()])
    }

    /// Returns the next step after an error of a request with `token`. Where only Vault can tell a dead token
    /// from another refusal ([`Action::CheckToken`]), it is asked.
    ///
    /// ```no_run
    /// # async fn example(client: &htvault::Client, token: &htvault::VaultToken, error: htvault::Error) {
    /// use htvault::Action;
    ///
    /// match client.judge(&error, token).await {
    ///     Action::NewToken => println!("dead: log in again"),
    ///     Action::Retry | Action::SlowDown => println!("later: {:?}", error.retry_after()),
    ///     Action::Onboard => println!("somebody has to log in by OIDC once"),
    ///     action => println!("somebody has to act ({action}): {error}"),
    /// }
    /// # }
    /// ```
    pub async fn judge(&self, error: &Error, token: &VaultToken) -> Action {
        match error.action() {
            Action::CheckToken => match self.lookup_self(token).await {
                Ok(_) => Action::FixPolicy,
                Err(e) if e.kind() == ErrorKind::TokenRejected => Action::NewToken,
                Err(_) => Action::Retry,
            },
            action => action,
        }
    }

    /// Revokes a token, and with it all its children.
    ///
    /// ```no_run
    /// # async fn example(client: &htvault::Client, token: &htvault::VaultToken) -> Result<(), htvault::Error> {
    /// client.revoke_self(token).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::TokenRejected`](crate::ErrorKind::TokenRejected) when it is dead already; and
    /// what any request may give.
    pub async fn revoke_self(&self, token: &VaultToken) -> Result<(), Error> {
        let path = "/v1/auth/token/revoke-self";
        self.call_for_nothing(Call::new(Method::POST, path, Auth::Token(token)))
            .await
    }
}

/// The properties in the answer to a look-up. `secrets` are those of the request.
pub(crate) fn looked_up(
    answer: Answered<LookupData>,
    secrets: &[&str],
) -> Result<TokenInfo, Error> {
    let request = answer.request.clone();
    let data = answer.data()?;
    Ok(TokenInfo {
        accessor: plain(&request, "accessor", data.accessor, secrets)?,
        ttl_seconds: data.ttl,
        expires: data.expire_time,
        policies: words(data.policies, MOST_POLICIES, secrets),
    })
}

/// The token of an answer; `owner` is who asked for it, where the answer does not say. `secrets` are those of the
/// request, and others of the answer.
pub(crate) fn issued<T>(
    answer: Answered<T>,
    owner: Option<&str>,
    secrets: &[&str],
) -> Result<IssuedToken, Error> {
    let Answered { request, envelope } = answer;
    let auth = envelope
        .auth
        .ok_or_else(|| Error::bad_answer(&request, "the answer has no token"))?;
    if auth.client_token.is_empty() || !auth.client_token.bytes().all(|b| b.is_ascii_graphic()) {
        let words = "the answer's vault token is empty or holds characters that no token has";
        return Err(Error::bad_answer(&request, words));
    }
    let secrets = [secrets, &[auth.client_token.as_str()]].concat();
    let accessor = plain(&request, "accessor", auth.accessor, &secrets)?;
    let user = auth.metadata.and_then(|m| m.user);
    let user = user.map(|user| plain(&request, "user", user, &secrets));
    let user = user.transpose()?;
    let policies = words(auth.policies, MOST_POLICIES, &secrets);
    let warnings = words(envelope.warnings, MOST_WARNINGS, &secrets);
    let mut token = VaultToken::from(auth.client_token);
    if let Some(owner) = user.as_deref().or(owner) {
        token = token.of(owner);
    }
    Ok(IssuedToken {
        token,
        accessor,
        lease_seconds: auth.lease_duration,
        policies,
        user,
        warnings,
    })
}

/// A name that a server gives to something: it is printed, stored and compared. One that would be changed by being
/// made fit for a message is refused, and so is one that repeats a secret.
pub(crate) fn plain(
    request: &str,
    kind: &str,
    name: String,
    secrets: &[&str],
) -> Result<String, Error> {
    if repeats(&name, secrets) {
        let words = format!("the answer's {kind} repeats a token or another secret");
        return Err(Error::bad_answer(request, &words));
    }
    if printable(&name, LIMIT) == name {
        return Ok(name);
    }
    let words = format!("the answer's {kind} is longer than {LIMIT} characters or not printable");
    Err(Error::bad_answer(request, &words))
}

/// Texts of a server, `most` at most, without these secrets, each escaped and bounded.
pub(crate) fn words(texts: Option<Vec<String>>, most: usize, secrets: &[&str]) -> Vec<String> {
    let texts = texts.unwrap_or_default();
    let bounded = texts.iter().take(most);
    bounded
        .map(|text| printable(hide(text, secrets).trim(), LIMIT))
        .collect()
}
