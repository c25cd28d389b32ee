//! Health of each address of an HTVault, for a person who looks for a fault.
//!
//! What holds: every address is asked, one that is down hides no other; no vault token is needed,
//! and no quota of one is used up (`sys/health` is not counted by HTVault's quotas).

use std::net::SocketAddr;

use jiff::Timestamp;
use reqwest::tls::TlsInfo;
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::credential_url::ServerUrl;
use crate::endpoints::{connect, look_up};
use crate::error::Error;
use crate::settings::Settings;
use crate::text::{LIMIT, printable};
use crate::tls::{Authorities, TlsSettings, end_of};
use crate::transport;

/// Longest answer that is read, in bytes.
const ANSWER_LIMIT: usize = 16 * 1024;

/// One address and what it answered.
#[derive(Debug)]
pub struct Node {
    /// The server that the address belongs to.
    pub server: ServerUrl,
    /// The address.
    pub address: SocketAddr,
    /// Its answer, or the reason why there is none.
    pub answer: Result<NodeAnswer, Error>,
}

/// Health of a node, by its own account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAnswer {
    /// State of the node.
    pub state: NodeState,
    /// Version of OpenBao or Vault.
    pub version: Option<String>,
    /// Its clock, to the second.
    pub clock: Option<Timestamp>,
    /// Expiry of its certificate.
    pub certificate_ends: Option<Timestamp>,
}

/// State of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeState {
    /// It leads.
    Active,
    /// It passes requests on to the leader.
    Standby,
    /// Somebody has to unseal it.
    Sealed,
    /// It was never set up.
    Uninitialised,
}

/// The body of `sys/health`, whatever the status is.
#[derive(Deserialize)]
struct Health {
    initialized: bool,
    sealed: bool,
    standby: bool,
    server_time_utc: Option<i64>,
    version: Option<String>,
}

/// Asks every address of every server for its health. Reads the files with certificate authorities first, which blocks.
///
/// # Errors
/// No name can be looked up, or the certificate authorities cannot be read.
pub async fn survey(settings: &Settings) -> Result<Vec<Node>, Error> {
    let tls = Authorities::read(&settings.tls)?.config();
    let found = look_up(settings).await?;
    // All at a time: one that hangs takes its whole timeout.
    let mut asked = JoinSet::new();
    for (index, (server, address)) in found.into_iter().enumerate() {
        let http = connect(settings, &server, Some(address), 1, tls.clone())?;
        let tls = settings.tls.clone();
        asked.spawn(async move {
            let answer = ask(&tls, &server, &http).await;
            let node = Node {
                server,
                address,
                answer,
            };
            (index, node)
        });
    }
    let mut nodes = asked.join_all().await;
    nodes.sort_by_key(|(index, _)| *index);
    Ok(nodes.into_iter().map(|(_, node)| node).collect())
}

async fn ask(
    tls: &TlsSettings,
    server: &ServerUrl,
    http: &reqwest::Client,
) -> Result<NodeAnswer, Error> {
    let url = server.join("/v1/sys/health");
    let request = format!("GET {url}");
    let failed = |error| transport::failure(&request, error, tls);
    let mut response = http.get(url).send().await.map_err(failed)?;
    let certificate_ends = response
        .extensions()
        .get::<TlsInfo>()
        .and_then(TlsInfo::peer_certificate)
        .and_then(end_of);
    let status = response.status();
    let body = transport::body(&mut response, ANSWER_LIMIT).await;
    // One that is too large describes no health.
    let body = body.map_err(failed)?.unwrap_or_default();
    Ok(NodeAnswer {
        certificate_ends,
        ..described(&request, status.as_u16(), &body)?
    })
}

/// What a node says of its health, without its certificate.
pub(crate) fn described(request: &str, status: u16, body: &[u8]) -> Result<NodeAnswer, Error> {
    let health: Health = serde_json::from_slice(body).map_err(|_| {
        let words = "the answer does not describe a Vault's health";
        Error::not_vault(request, status, words)
    })?;
    Ok(NodeAnswer {
        state: health.state(),
        version: health.version.map(|version| printable(&version, LIMIT)),
        clock: health
            .server_time_utc
            .and_then(|seconds| Timestamp::from_second(seconds).ok()),
        certificate_ends: None,
    })
}

impl Health {
    fn state(&self) -> NodeState {
        match (self.initialized, self.sealed, self.standby) {
            (false, _, _) => NodeState::Uninitialised,
            (_, true, _) => NodeState::Sealed,
            (_, _, true) => NodeState::Standby,
            _ => NodeState::Active,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_bodies_tell_the_state() {
        let state = |text: &str| serde_json::from_str::<Health>(text).unwrap().state();
        for (initialized, sealed, standby, wanted) in [
            (true, false, false, NodeState::Active),
            (true, false, true, NodeState::Standby),
            // A sealed node says that it is a standby, too.
            (true, true, true, NodeState::Sealed),
            (false, true, true, NodeState::Uninitialised),
        ] {
            let text = format!(
                r#"{{"initialized": {initialized}, "sealed": {sealed}, "standby": {standby}, "server_time_utc": 1795331496}}"#
            );
            assert_eq!(state(&text), wanted, "{text}");
        }
    }

    #[test]
    fn the_end_of_a_certificate_is_read() {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let end: Timestamp = "2031-02-03T00:00:00Z".parse().unwrap();
        assert_eq!(end_of(certificate.der()), Some(end));
        assert_eq!(end_of(b"no certificate"), None);
    }
}
