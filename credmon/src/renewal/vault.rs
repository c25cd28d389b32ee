//! Access tokens from HTVault: one client for each server, so that connections are kept.

use std::sync::{Arc, Mutex};

use htvault::{
    AccessTokenAnswer, AccessTokenRequest, After429, Authorities, Client, ErrorKind, FailureScope,
    ServerUrl, Settings,
};

use super::cache::FairCache;
use super::dns::NameCache;
use super::{Caller, Vault};
use crate::model::{Failure, VaultLife, lock};
use crate::store::CompleteTop;

/// Servers whose connections are kept. Sites have one or two; an account may name thousands.
const SERVERS: usize = 32;

/// HTVault as a source of access tokens.
#[derive(Debug)]
pub(crate) struct HtVault {
    names: NameCache,
    clients: Mutex<Clients>,
}

#[derive(Debug)]
struct Clients {
    /// `None` when not even the system's can be read.
    authorities: Option<Authorities>,
    by_server: FairCache<Client>,
}

impl HtVault {
    pub(crate) fn new(authorities: Option<Authorities>) -> Self {
        let clients = Clients {
            authorities,
            by_server: FairCache::new(SERVERS),
        };
        Self {
            names: NameCache::default(),
            clients: Mutex::new(clients),
        }
    }

    /// Trusts other certificate authorities from now on.
    pub(crate) fn set_authorities(&self, authorities: Option<Authorities>) {
        let mut clients = lock(&self.clients);
        clients.authorities = authorities;
        clients.by_server = FairCache::new(SERVERS);
    }

    /// The client of a server.
    fn client(&self, account: &Arc<str>, server: ServerUrl) -> Result<Client, Failure> {
        let mut clients = lock(&self.clients);
        let name = server.to_string();
        if let Some(client) = clients.by_server.get(&name, account) {
            return Ok(client.clone());
        }
        let mut settings = Settings::new(server);
        settings.resolver = Arc::new(self.names.clone());
        // The scheduler decides who waits after a 429.
        settings.after_429 = After429::LeaveToCaller;
        let authorities = clients.authorities.clone().ok_or_else(|| {
            Failure::local(
                "no certificate authority can be read".to_owned(),
                "set AUTH_SSL_CLIENT_CAFILE, or install ca-certificates",
            )
        })?;
        let client = Client::with_authorities(&settings, authorities);
        clients.by_server.add(&name, client.clone(), account);
        Ok(client)
    }

    /// Makes a request, with the addresses of its host known.
    async fn request<T>(
        &self,
        caller: &Caller,
        top: &CompleteTop,
        send: impl AsyncFnOnce(Client) -> Result<T, htvault::Error>,
    ) -> Result<T, Failure> {
        let server = top.url.server();
        let host = server.host().to_owned();
        self.names.look_up(&caller.account, &host).await?;
        let client = self.client(&caller.account, server)?;
        let client = client.counting(caller.requests.clone());
        send(client).await.map_err(|error| {
            let failure = Failure::from(error);
            if failure.scope == FailureScope::Host {
                self.names.distrust(&host);
            }
            failure
        })
    }
}

impl Vault for HtVault {
    async fn access_token(
        &self,
        caller: &Caller,
        top: &CompleteTop,
        request: &AccessTokenRequest,
    ) -> Result<AccessTokenAnswer, Failure> {
        let send = async |client: Client| {
            client
                .access_token(&top.url, &top.vault_token, request)
                .await
        };
        self.request(caller, top, send).await
    }

    async fn look_up(
        &self,
        caller: &Caller,
        top: &CompleteTop,
    ) -> Result<Option<VaultLife>, Failure> {
        let send = async |client: Client| client.lookup_self(&top.vault_token).await;
        match self.request(caller, top, send).await {
            Ok(info) => Ok(Some(VaultLife(info.expires))),
            Err(failure) if failure.kind == Some(ErrorKind::TokenRejected) => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}
