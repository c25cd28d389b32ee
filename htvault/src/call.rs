//! A request to come: method, path, what it is authorized with, and its body.

use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, FailureScope};
use crate::secret::VaultToken;

/// Fields of requests' bodies that are secrets.
const SECRET_FIELDS: [&str; 3] = ["client_nonce", "refresh_token", "state"];

/// A request to come.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) query: &'a [(&'a str, &'a str)],
    pub(crate) auth: Auth<'a>,
    pub(crate) body: Option<serde_json::Value>,
    /// True where the server acts on the request once, or each time anew: another address gets it only after a
    /// failure that says that it was not read.
    pub(crate) once: bool,
}

impl<'a> Call<'a> {
    /// A request without query and body, that may be repeated at another address.
    pub(crate) fn new(method: Method, path: &'a str, auth: Auth<'a>) -> Self {
        Self {
            method,
            path,
            query: &[],
            auth,
            body: None,
            once: false,
        }
    }

    /// Authorization of the request, and secrets in its body: none of it may come back in a message.
    pub(crate) fn secrets(&self) -> Vec<&str> {
        let auth = match self.auth {
            Auth::Token(token) => Some(token.expose()),
            Auth::Negotiate(token) => Some(token),
            Auth::Nothing => None,
        };
        let body = self.body.as_ref();
        let fields = SECRET_FIELDS
            .iter()
            .filter_map(|field| body?.get(field)?.as_str());
        auth.into_iter().chain(fields).collect()
    }
}

/// Authorization of a request.
#[derive(Clone, Copy)]
pub(crate) enum Auth<'a> {
    Token(&'a VaultToken),
    #[cfg_attr(
        not(feature = "kerberos"),
        allow(dead_code, reason = "only Kerberos logs in so")
    )]
    Negotiate(&'a str),
    /// The OIDC flow before its end: the path says it all.
    Nothing,
}

/// Header that authorizes a request; no debug output shows its value.
pub(crate) fn authorization(
    auth: Auth<'_>,
    request: &str,
) -> Result<Option<(HeaderName, HeaderValue)>, Error> {
    let (name, value) = match auth {
        Auth::Token(token) => {
            let name = HeaderName::from_static("x-vault-token");
            (name, HeaderValue::try_from(token.expose()))
        }
        Auth::Negotiate(token) => {
            let value = Zeroizing::new(format!("Negotiate {token}"));
            (AUTHORIZATION, HeaderValue::try_from(value.as_str()))
        }
        Auth::Nothing => return Ok(None),
    };
    let mut value = value.map_err(|_| {
        Error::new(
            ErrorKind::Configuration,
            request,
            "not sent: the vault token holds characters that no token has",
        )
        .in_scope(FailureScope::Credential)
        .advise("get a new vault token")
    })?;
    value.set_sensitive(true);
    Ok(Some((name, value)))
}
