//! Addresses: of an HTVault, and of a credential stored there.
//!
//! A URL here is always `https` with a host, no user, no query, no fragment.

use std::fmt;
use std::str::FromStr;

use url::Url;

use crate::error::{Error, FailureScope};
use crate::paths::Paths;
use crate::text::printable;

/// The address of an HTVault: `https://HOST[:PORT]`, nothing behind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerUrl(Url);

/// The URL of a credential stored at an HTVault, as HTCondor's credd keeps it in `vault_url`:
/// `https://HOST:8200/v1/secret/oauth/creds/ISSUER/CREDKEY:ROLE`, or `…/sts/…` for reduced tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CredentialUrl(Url);

/// An address that is refused, for a message. One that may hold a password (of `user:password@host`) or a token (in a
/// query or fragment) is not quoted.
fn quoted(text: &str) -> String {
    // A principal has an `@` in the path of a credential.
    let before_path = text.split_once("/v1/").map_or(text, |(before, _)| before);
    if before_path.contains('@') || text.contains(['?', '#']) {
        return "the address (not shown, for it may hold a secret)".to_owned();
    }
    format!("\"{}\"", printable(text, 200))
}

fn no_vault(text: &str, why: &str) -> Error {
    Error::bad_value(&format!("{} is no address of a Vault: {why}", quoted(text)))
        .advise("correct the address")
}

fn parse_https(text: &str) -> Result<Url, Error> {
    let refuse = |why: &str| no_vault(text, why);
    let url = Url::parse(text).map_err(|e| refuse(&e.to_string()))?;
    if url.scheme() != "https" {
        return Err(refuse("it must begin with https://"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(refuse("it names no host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("it must hold no user"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("it must end with its path"));
    }
    Ok(url)
}

impl ServerUrl {
    /// The host as named in the URL: what the certificate and the Kerberos service are for.
    #[must_use]
    pub fn host(&self) -> &str {
        // The parser refuses a URL without a host.
        self.0.host_str().unwrap_or_default()
    }

    /// The host without the brackets of an IPv6 address: what a look-up takes.
    pub(crate) fn bare_host(&self) -> &str {
        let host = self.host();
        host.strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host)
    }

    /// The port, 443 unless named.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port().unwrap_or(443)
    }

    pub(crate) fn join(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(path);
        url
    }
}

impl FromStr for ServerUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        // A server is a setting, the URL of a credential a value among others.
        let url = parse_https(text).map_err(|error| error.in_scope(FailureScope::Local))?;
        let refuse = |why: &str| no_vault(text, why).in_scope(FailureScope::Local);
        if !matches!(url.path(), "" | "/") {
            return Err(refuse("nothing may follow host and port"));
        }
        let is_of_name = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        let server = Self(url);
        if server.bare_host() == server.host() && !server.host().bytes().all(is_of_name) {
            return Err(refuse("the host has characters that no host's name has"));
        }
        Ok(server)
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl CredentialUrl {
    /// The credential of `credkey` for `role` of `issuer`: full access tokens, cached by Vault. At the usual path;
    /// [`Settings::creds_url`](crate::Settings::creds_url) has the one that is configured.
    ///
    /// ```
    /// use htvault::CredentialUrl;
    ///
    /// let server = "https://htvault.example.org:8200".parse()?;
    /// let url = CredentialUrl::creds(&server, "cms", "cmsprod", "production")?;
    /// assert_eq!(
    ///     url.to_string(),
    ///     "https://htvault.example.org:8200/v1/secret/oauth/creds/cms/cmsprod:production"
    /// );
    /// # Ok::<(), htvault::Error>(())
    /// ```
    ///
    /// # Errors
    /// A name that would change the path.
    pub fn creds(
        server: &ServerUrl,
        issuer: &str,
        credkey: &str,
        role: &str,
    ) -> Result<Self, Error> {
        let path = Paths::default().creds(issuer, credkey, role)?;
        Ok(Self::at(server, &path))
    }

    /// The same credential for reduced access tokens, by token exchange; not cached by Vault.
    ///
    /// # Errors
    /// A name that would change the path.
    pub fn sts(server: &ServerUrl, issuer: &str, credkey: &str, role: &str) -> Result<Self, Error> {
        let path = Paths::default().sts(issuer, credkey, role)?;
        Ok(Self::at(server, &path))
    }

    /// A path that was checked, at a server.
    pub(crate) fn at(server: &ServerUrl, path: &str) -> Self {
        Self(server.join(path))
    }

    /// The server that the credential is at.
    #[must_use]
    pub fn server(&self) -> ServerUrl {
        let mut url = self.0.clone();
        url.set_path("");
        ServerUrl(url)
    }

    /// The path from `/v1/` on.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// True when the path names a cached credential (`/creds/`), rather than a token exchange.
    #[must_use]
    pub fn is_cached(&self) -> bool {
        // The first counts: a credkey may have the other as a part.
        let mut parts = self.path().split('/');
        parts.find(|part| matches!(*part, "creds" | "sts")) == Some("creds")
    }
}

impl FromStr for CredentialUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let url = parse_https(text)?;
        if !url.path().starts_with("/v1/") {
            let shown = quoted(text);
            return Err(Error::bad_value(&format!(
                "{shown} is no URL of a credential: its path must begin with /v1/"
            ))
            .advise("correct the URL"));
        }
        Ok(Self(url))
    }
}

impl fmt::Display for CredentialUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> ServerUrl {
        "https://vault.test:8200".parse().unwrap()
    }

    #[test]
    fn a_credential_has_the_url_that_htcondor_stores() {
        let url = CredentialUrl::creds(&server(), "cms", "cmsprod", "crab").unwrap();
        assert_eq!(
            url.to_string(),
            "https://vault.test:8200/v1/secret/oauth/creds/cms/cmsprod:crab"
        );
        assert!(url.is_cached());
        assert_eq!(url.server(), server());
        assert_eq!(url.to_string().parse::<CredentialUrl>().unwrap(), url);
    }

    #[test]
    fn a_robots_credkey_keeps_its_slashes() {
        let url =
            CredentialUrl::sts(&server(), "cms", "cmsprod/bastion/ap.test", "default").unwrap();
        assert_eq!(
            url.path(),
            "/v1/secret/oauth/sts/cms/cmsprod/bastion/ap.test:default"
        );
        assert!(!url.is_cached());
        // A part of it may be any name.
        for name in ["creds", "sts"] {
            let credkey = format!("cmsprod/{name}/ap.test");
            let url = CredentialUrl::sts(&server(), "cms", &credkey, "default").unwrap();
            assert!(!url.is_cached(), "{url}");
            let url = CredentialUrl::creds(&server(), name, &credkey, "default").unwrap();
            assert!(url.is_cached(), "{url}");
        }
    }

    #[test]
    fn names_that_would_change_the_path_are_refused() {
        for credkey in ["", "a//b", "../root", "a/../b", "a?x", "a b", "a%2fb"] {
            assert!(
                CredentialUrl::creds(&server(), "cms", credkey, "crab").is_err(),
                "{credkey}"
            );
        }
        assert!(CredentialUrl::creds(&server(), "cms/x", "a", "crab").is_err());
    }

    #[test]
    fn a_secret_in_an_address_is_not_quoted() {
        for text in [
            "https://user:s.secret@vault.test",
            "user:s.secret@vault.test",
            "https://user:s.se/cret@vault.test:8200/v1/x",
            "http://user:s.secret@vault.test/v1/x",
            "https://vault.test:8200/v1/x?token=s.secret",
            "https://vault.test:8200/#s.secret",
        ] {
            let server = text.parse::<ServerUrl>().err();
            let credential = text.parse::<CredentialUrl>().err();
            for error in server.into_iter().chain(credential) {
                let said = format!("{error} {error:?}");
                assert!(!said.contains("s.se"), "{said}");
                assert!(said.contains("not shown"), "{said}");
            }
        }
        let odd = "http://vault.test/v1/secret/oauth/creds/cms/a@TEST:x";
        let error = odd.parse::<CredentialUrl>().unwrap_err();
        assert!(error.to_string().contains(odd), "{error}");
    }

    #[test]
    fn addresses_are_https_and_plain() {
        assert_eq!(server().host(), "vault.test");
        assert_eq!(server().port(), 8200);
        let six: ServerUrl = "https://[2001:db8::1]:8200".parse().unwrap();
        assert_eq!(
            (six.host(), six.bare_host()),
            ("[2001:db8::1]", "2001:db8::1")
        );
        for bad in [
            "vault.test:8200",
            "http://vault.test:8200",
            "https://u:p@vault.test",
            "https://vault.test/v1",
            "https://vault.test?x",
            "https://*.test",
            "https://a!b.test:8200",
            "",
        ] {
            assert!(bad.parse::<ServerUrl>().is_err(), "{bad}");
        }
        assert!(
            "https://vault.test:8200/v2/x"
                .parse::<CredentialUrl>()
                .is_err()
        );
    }
}
