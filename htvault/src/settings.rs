//! How to reach an HTVault: what an admin configures.

use std::time::Duration;

use crate::budget::RequestLimit;
use crate::credential_url::ServerUrl;
use crate::error::Error;
use crate::tls::TlsSettings;

/// How to reach an HTVault.
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
    /// The cluster's name, when it is not the host of the first server: the one that the service
    /// principal of Kerberos is for.
    pub cluster: Option<String>,
    /// Which certificate authorities are trusted.
    pub tls: TlsSettings,
    /// Our own bound on requests; none unless set.
    pub limit: Option<RequestLimit>,
    /// How long a request may wait for room below our own bound before it is given up.
    pub patience: Duration,
    /// Limit for making a connection to one address.
    pub connect_timeout: Duration,
    /// Limit for a request at one address. Vault itself waits 30 s for an issuer that hangs.
    pub request_timeout: Duration,
}

impl Settings {
    /// One server (whose name may stand for several addresses), the usual limits of time (5 s to
    /// connect, 40 s for all), the system's authorities, no bound on requests.
    #[must_use]
    pub fn new(server: ServerUrl) -> Self {
        Self {
            servers: vec![server],
            cluster: None,
            tls: TlsSettings::default(),
            limit: None,
            patience: Duration::from_secs(40),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(40),
        }
    }

    /// Several servers of one cluster, the first one preferred; else as [`Settings::new`].
    ///
    /// # Errors
    /// The list is empty.
    pub fn for_cluster(servers: Vec<ServerUrl>) -> Result<Self, Error> {
        let first = servers.first().cloned().ok_or_else(|| {
            Error::configuration("the list of Vault addresses is empty; name one".to_owned())
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

    /// The host whose Kerberos service a login is for: the cluster's name, whichever address
    /// answers.
    #[must_use]
    pub fn kerberos_host(&self) -> &str {
        self.cluster
            .as_deref()
            .unwrap_or_else(|| self.server().host())
    }
}
