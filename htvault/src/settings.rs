//! Settings of a client: servers, paths, trust, limits and timeouts.

use std::sync::Arc;
use std::time::Duration;

use crate::budget::RequestLimit;
use crate::credential_url::{CredentialUrl, ServerUrl};
use crate::dns::{Resolve, SystemResolver};
use crate::error::Error;
use crate::paths::Paths;
use crate::tls::TlsSettings;

/// Settings of a client: servers, paths, trust, limits and timeouts.
///
/// ```
/// use htvault::{RequestLimit, Settings};
/// use std::time::Duration;
///
/// let mut settings = Settings::new("https://htvault.example.org:8200".parse()?);
/// settings.limit = Some(RequestLimit { limit: 300, per: Duration::from_mins(5) });
/// assert_eq!(settings.kerberos_host(), "htvault.example.org");
/// # Ok::<(), htvault::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Settings {
    servers: Vec<ServerUrl>,
    /// Name of the cluster, when it is not the host of the first server: the one that the service
    /// principal of Kerberos is for.
    pub cluster: Option<String>,
    /// Vault namespace (`X-Vault-Namespace`); none unless set.
    pub namespace: Option<String>,
    /// Paths of mounts and credentials at the Vault.
    pub paths: Paths,
    /// Certificate authorities to trust.
    pub tls: TlsSettings,
    /// Resolver of host names; the system's unless set.
    pub resolver: Arc<dyn Resolve>,
    /// Our own limit on requests; none unless set.
    pub limit: Option<RequestLimit>,
    /// Longest wait of a request for room below our own limit; a day at most.
    pub limit_wait: Duration,
    /// Reaction to a 429 of the server.
    pub after_429: After429,
    /// Timeout for the look-up of one host name.
    pub resolve_timeout: Duration,
    /// Timeout for making a connection to one address, TLS included.
    pub connect_timeout: Duration,
    /// Timeout for a request at one address. Vault itself waits 30 s for an issuer that hangs.
    pub request_timeout: Duration,
}

/// Reaction of a client to a 429 of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum After429 {
    /// Sends no request until the block is over: as long as `Retry-After` says (5 minutes at most),
    /// else for a time that grows with each 429 in a row. Then one request probes.
    #[default]
    BlockClient,
    /// Only returns the error; the next request is sent as usual. For callers that decide for each
    /// path or credential, since a quota may be for one of them.
    LeaveToCaller,
}

impl Settings {
    /// Settings for one server (whose name may stand for several addresses): the usual timeouts
    /// (10 s for DNS, 5 s to connect, 40 s for a request), the system's authorities, no limit on
    /// requests.
    #[must_use]
    pub fn new(server: ServerUrl) -> Self {
        Self {
            servers: vec![server],
            cluster: None,
            namespace: None,
            paths: Paths::default(),
            tls: TlsSettings::default(),
            resolver: Arc::new(SystemResolver::default()),
            limit: None,
            limit_wait: Duration::from_secs(40),
            after_429: After429::default(),
            resolve_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(40),
        }
    }

    /// Settings for several servers of one cluster, the first one preferred; else as
    /// [`Settings::new`].
    ///
    /// # Errors
    /// The list is empty.
    pub fn for_cluster(servers: Vec<ServerUrl>) -> Result<Self, Error> {
        let first = servers.first().cloned().ok_or_else(|| {
            Error::configuration("the list of Vault addresses is empty").advise("name one")
        })?;
        Ok(Self {
            servers,
            ..Self::new(first)
        })
    }

    /// All servers, the preferred one first; never empty.
    #[must_use]
    pub fn servers(&self) -> &[ServerUrl] {
        &self.servers
    }

    /// The first server: the one that names the cluster in the URLs of stored credentials.
    #[must_use]
    pub fn server(&self) -> &ServerUrl {
        #[allow(
            clippy::indexing_slicing,
            reason = "the constructors take no empty list"
        )]
        &self.servers[0]
    }

    /// Host of the Kerberos service of a login: the cluster's name, whichever address answers.
    #[must_use]
    pub fn kerberos_host(&self) -> &str {
        self.cluster
            .as_deref()
            .unwrap_or_else(|| self.server().host())
    }

    /// URL of a stored credential at the first server, by [`Paths::secret`].
    ///
    /// # Errors
    /// A name that would change the path.
    pub fn creds_url(
        &self,
        issuer: &str,
        credkey: &str,
        role: &str,
    ) -> Result<CredentialUrl, Error> {
        let path = self.paths.creds(issuer, credkey, role)?;
        Ok(CredentialUrl::at(self.server(), &path))
    }

    /// URL for reduced access tokens of the same credential, by [`Paths::secret`].
    ///
    /// # Errors
    /// A name that would change the path.
    pub fn sts_url(&self, issuer: &str, credkey: &str, role: &str) -> Result<CredentialUrl, Error> {
        let path = self.paths.sts(issuer, credkey, role)?;
        Ok(CredentialUrl::at(self.server(), &path))
    }

    /// Refuses the URL of a credential that is at another server: a vault token is sent only to a
    /// server that the URL names.
    pub(crate) fn check_server(&self, url: &CredentialUrl) -> Result<(), Error> {
        let server = url.server();
        let of_cluster = || {
            self.cluster.as_deref().is_some_and(|cluster| {
                server.host().eq_ignore_ascii_case(cluster)
                    && self.servers.iter().any(|own| own.port() == server.port())
            })
        };
        if self.servers.contains(&server) || of_cluster() {
            return Ok(());
        }
        Err(Error::bad_value(&format!(
            "the credential {url} is at {server}, and this client is for {}: nothing was sent",
            self.server()
        ))
        .advise("use a client of that server"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_another_server_is_refused() {
        let servers = ["https://Vault1.test:8200", "https://vault2.test"];
        let servers = servers.map(|server| server.parse().unwrap()).to_vec();
        let mut settings = Settings::for_cluster(servers).unwrap();
        settings.cluster = Some("Vault.Test".to_owned());
        for (server, is_ours) in [
            ("https://vault1.test:8200", true),
            ("https://VAULT1.TEST:8200", true),
            ("https://vault2.test:443", true),
            ("https://vault.test:8200", true),
            ("https://vault.test", true),
            ("https://vault1.test", false),
            ("https://vault.test:8201", false),
            ("https://vault3.test:8200", false),
        ] {
            let url = format!("{server}/v1/secret/oauth/creds/cms/a:b");
            let checked = settings.check_server(&url.parse().unwrap());
            assert_eq!(checked.is_ok(), is_ours, "{server}");
        }
    }
}
