//! Where access tokens come from: HTVault, or a stand-in in tests.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use htvault::{
    AccessTokenAnswer, AccessTokenRequest, Authorities, Client, CredentialUrl, ErrorKind,
    RequestLimit, ServerUrl, Settings, TlsSettings, VaultToken,
};
use jiff::Timestamp;

use crate::old::second::Second;

/// A request that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceError {
    /// What sort of failure.
    pub kind: ErrorKind,
    /// The whole story on one line: request, answer, what to do.
    pub text: String,
    /// How long to wait at least, where the server or our own bound on requests says.
    pub retry_after: Option<Duration>,
}

impl From<htvault::Error> for SourceError {
    fn from(error: htvault::Error) -> Self {
        Self {
            kind: error.kind(),
            text: error.to_string(),
            retry_after: error.retry_after(),
        }
    }
}

/// Gives access tokens.
pub trait TokenSource: Send + Sync + 'static {
    /// Reads an access token.
    fn access_token(
        &self,
        url: &CredentialUrl,
        vault_token: &VaultToken,
        request: &AccessTokenRequest,
    ) -> impl Future<Output = Result<AccessTokenAnswer, SourceError>> + Send;

    /// How long a vault token lives; `None` for a dead one.
    fn look_up(
        &self,
        url: &CredentialUrl,
        vault_token: &VaultToken,
    ) -> impl Future<Output = Result<Option<VaultLife>, SourceError>> + Send;
}

/// How long a vault token lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VaultLife {
    /// When it ends; `None` for one without end.
    pub expires: Option<Second>,
}

impl VaultLife {
    /// Whether it should be over.
    #[must_use]
    pub fn is_over(self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now.into())
    }
}

/// Access tokens from HTVault: one client for each server, made when first needed, so that
/// connections are kept. The client knows which of several addresses answers, reads replaced
/// certificate authorities anew, keeps to the bound on requests and waits out a server's block.
#[derive(Debug)]
pub struct VaultSource {
    tls: TlsSettings,
    limit: Option<RequestLimit>,
    /// Shared by all clients, until the files change.
    authorities: Mutex<Option<Authorities>>,
    clients: Mutex<HashMap<ServerUrl, Client>>,
}

impl VaultSource {
    /// Takes certificate authorities from `tls`, and keeps to `limit` at each server.
    #[must_use]
    pub fn new(tls: TlsSettings, limit: Option<RequestLimit>) -> Self {
        Self {
            tls,
            limit,
            authorities: Mutex::default(),
            clients: Mutex::default(),
        }
    }

    /// Reads the certificate authorities, which takes a while, before they are needed. What is wrong
    /// with them is told when they are.
    pub fn prepare(&self) {
        let _ = self.authorities();
    }

    fn authorities(&self) -> Result<Authorities, SourceError> {
        let mut authorities = (self.authorities.lock()).unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = &*authorities
            && read.are_those_of(&self.tls)
        {
            return Ok(read.clone());
        }
        let read = Authorities::read(&self.tls)?;
        Ok(authorities.insert(read).clone())
    }

    /// Whether it is made of these: then it is kept, with its connections and its count of requests.
    #[must_use]
    pub fn is_of(&self, tls: &TlsSettings, limit: Option<RequestLimit>) -> bool {
        self.tls == *tls && self.limit == limit
    }

    fn client(&self, server: &ServerUrl) -> Result<Client, SourceError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(server) {
            return Ok(client.clone());
        }
        let mut settings = Settings::new(server.clone());
        settings.tls = self.tls.clone();
        settings.limit = self.limit;
        let client = Client::with_authorities(&settings, self.authorities()?);
        clients.insert(server.clone(), client.clone());
        Ok(client)
    }
}

impl TokenSource for VaultSource {
    async fn access_token(
        &self,
        url: &CredentialUrl,
        vault_token: &VaultToken,
        request: &AccessTokenRequest,
    ) -> Result<AccessTokenAnswer, SourceError> {
        let server = url.server();
        let client = self.client(&server)?;
        Ok(client.access_token(url, vault_token, request).await?)
    }

    async fn look_up(
        &self,
        url: &CredentialUrl,
        vault_token: &VaultToken,
    ) -> Result<Option<VaultLife>, SourceError> {
        let server = url.server();
        match self.client(&server)?.lookup_self(vault_token).await {
            Ok(info) => Ok(Some(VaultLife {
                expires: info.expires.map(Second::from),
            })),
            Err(error) if error.kind() == ErrorKind::TokenRejected => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
