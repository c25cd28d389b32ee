//! A server in process with a clock that stands, and no KDC: tickets are believed, here only.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use htvault::clock::Clock;
use integration::ca::Ca;
use integration::dev::controls::Troubles;
use integration::dev::issuer::device::Decision;
use integration::dev::login::TicketCheck;
use integration::dev::policy::{Owner, Policy};
use integration::dev::settings::RoleName;
use integration::dev::state_file::StateFile;
use integration::dev::tokens::{NewToken, TokenKind};
use integration::dev::{Files, Server, Settings, Start, tls};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde_json::json;
use tempfile::TempDir;

use crate::wire::{Answer, Connection, Request};

/// A clock that moves when told.
pub struct StandingClock(Mutex<Timestamp>);

impl Clock for StandingClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// Believes `ticket NAME@REALM`.
struct Believer;

impl TicketCheck for Believer {
    fn check(&self, token: &[u8]) -> Result<Owner, String> {
        let text = String::from_utf8_lossy(token);
        let principal = text.strip_prefix("ticket ").ok_or("no ticket")?;
        let (name, domain) = principal.split_once('@').ok_or("no realm")?;
        Ok(Owner {
            name: name.into(),
            domain: domain.into(),
        })
    }
}

pub struct World {
    pub server: Server,
    pub clock: Arc<StandingClock>,
    pub tls: Arc<rustls::ClientConfig>,
    pub ca_file: std::path::PathBuf,
    _folder: TempDir,
}

/// An OIDC login that was begun.
pub struct OidcFlow {
    pub state: String,
    pub user_code: String,
}

/// The moment of the recordings.
const START: &str = "2026-11-22T07:08:27.140327858Z";

pub fn crab() -> RoleName {
    "cms:crab".parse().unwrap()
}

impl World {
    pub async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub async fn with(settings: Settings) -> Self {
        Self::start(settings, Arc::new(Believer), [127, 0, 0, 1]).await
    }

    /// A world that goes on with the state in a file.
    pub async fn keeping(settings: Settings, file: &Path) -> Self {
        let state = StateFile::open(file).unwrap();
        let believer = Arc::new(Believer);
        Self::start_with(settings, believer, [127, 0, 0, 1], Some(state)).await
    }

    pub async fn start(
        settings: Settings,
        tickets: Arc<dyn TicketCheck>,
        address: [u8; 4],
    ) -> Self {
        Self::start_with(settings, tickets, address, None).await
    }

    async fn start_with(
        settings: Settings,
        tickets: Arc<dyn TicketCheck>,
        address: [u8; 4],
        state: Option<StateFile>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = Ca::create(folder.path(), "CA of a test").unwrap();
        let vault = ca.issue(&["vault.test"]).unwrap();
        let issuer = ca.issue(&["issuer.test"]).unwrap();
        let clock = Arc::new(StandingClock(Mutex::new(START.parse().unwrap())));
        let any_port = SocketAddr::from((address, 0));
        let start = Start {
            settings,
            tickets,
            clock: clock.clone(),
            files: Files {
                certificate: vault.certificate,
                key: vault.key,
                issuer_certificate: issuer.certificate,
                issuer_key: issuer.key,
                ca_file: ca.file(),
            },
            listen: vec![any_port, any_port],
            issuer_listen: any_port,
            log: None,
            troubles: Troubles::default(),
            admin_listen: Some(any_port),
            state,
        };
        Self {
            server: Server::start(start).await.unwrap(),
            clock,
            tls: Arc::new(tls::client(&ca.file()).unwrap()),
            ca_file: ca.file(),
            _folder: folder,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.addresses()[0]
    }

    pub fn wait(&self, time: Duration) {
        let mut now = self.clock.0.lock().unwrap();
        *now = now.checked_add(time).unwrap();
    }

    pub async fn connect(&self) -> Connection {
        Connection::open(self.address(), "vault.test", self.tls.clone()).await
    }

    pub async fn send(&self, request: &Request) -> Answer {
        self.connect().await.send(request).await
    }

    /// A call with a token.
    pub async fn call(&self, method: &str, path: &str, token: &str, body: &str) -> Answer {
        let request = Request {
            method: method.into(),
            path: path.into(),
            headers: vec![("X-Vault-Token".into(), token.into())],
            body: body.into(),
        };
        self.send(&request).await
    }

    /// The token of a login for `cms:crab`.
    pub fn login(&self, name: &str) -> String {
        let token = self.server.seed_login(&crab(), name, "TEST").unwrap();
        token.expose_secret().to_owned()
    }

    /// A token that may store, as OIDC gives it.
    pub fn oidc_login(&self, credkey: &str) -> String {
        let spec = NewToken {
            kind: TokenKind::Service,
            accessor: "oidc".into(),
            owner: Arc::new(Owner {
                name: credkey.into(),
                domain: String::new(),
            }),
            policies: Arc::new([Policy::Oidc(crab()), Policy::TokenOps]),
            display_name: format!("oidc-cms-{credkey}"),
            meta: None,
            path: "auth/oidc-cms/oidc/poll".into(),
            life: Duration::from_hours(672),
            explicit_max: Duration::ZERO,
            renewable: true,
            parent: None,
        };
        let vault = self.server.vault();
        vault.issue(spec, self.clock.now()).unwrap().text
    }

    /// Begins an OIDC login for `cms:crab`.
    pub async fn begin_oidc(&self, nonce: &str) -> OidcFlow {
        let body = json!({"role": "crab", "client_nonce": nonce});
        let path = "/v1/auth/oidc-cms/oidc/auth_url";
        let answer = self.call("POST", path, "", &body.to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let data = &answer.json()["data"];
        let text = |name: &str| data[name].as_str().unwrap().to_owned();
        let code = text("auth_url");
        OidcFlow {
            state: text("state"),
            user_code: code.split_once('=').unwrap().1.to_owned(),
        }
    }

    /// Approves a flow, as somebody in front of a browser.
    pub fn approve(&self, flow: &OidcFlow, credkey: &str) {
        let decision = Decision::Approved(credkey.to_owned());
        let issuer = self.server.issuer();
        assert_eq!(issuer.decide(&flow.user_code, decision), Ok(crab()));
    }

    /// A child of a token.
    pub async fn child(&self, parent: &str, body: &str) -> String {
        let answer = self
            .call("POST", "/v1/auth/token/create", parent, body)
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let token = &answer.json()["auth"]["client_token"];
        token.as_str().unwrap().to_owned()
    }
}
