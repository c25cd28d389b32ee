//! A real Keycloak, as `integration/setup/keycloak` has it: a token issuer that is not ours.
//!
//! Owns its process, its realm and the passwords in it, which are new for each. What always holds: it
//! listens with TLS on an address of the sandbox and keeps everything in memory; nothing is written
//! outside the folder that was given; no password stands on a command line; dropping it ends it.

pub mod admin;
pub mod browser;
pub mod realm;

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use nix::sys::signal::Signal;
use reqwest::redirect;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::process::Command;

use crate::address::{self, Protocol};
use crate::ca::Ca;
use crate::dev::{random, tls};
use crate::process::Daemon;
use crate::sandbox;
use admin::Admin;
use browser::Browser;
use realm::Realm;

/// Where it listens.
const ADDRESS: &str = "127.83.0.11:8443";
/// Its URL.
const URL: &str = "https://keycloak.test:8443";
/// A Java program that starts on a machine that is busy.
const START: Duration = Duration::from_mins(10);
/// The admin of all realms.
const ADMIN: &str = "admin";

/// A running Keycloak with one realm.
pub struct Keycloak {
    // In the order in which they must be dropped.
    daemon: Daemon,
    http: reqwest::Client,
    realm: Realm,
    admin_password: SecretString,
}

impl Keycloak {
    /// Starts it below `folder` with this realm, and waits until it answers.
    pub async fn start(folder: &Path, ca: &Ca, realm: Realm) -> anyhow::Result<Self> {
        let program = sandbox::keycloak()?;
        let listen: SocketAddr = ADDRESS.parse().context("an address")?;
        address::require_free("Keycloak", Protocol::Tcp, listen)?;
        let home = folder.join("keycloak");
        let import = home.join("data/import");
        for folder in [&import, &home.join("tmp")] {
            let cannot = || format!("cannot make {}", folder.display());
            fs::create_dir_all(folder).with_context(cannot)?;
        }
        for part in ["bin", "conf", "lib", "providers", "themes"] {
            symlink(program.join(part), home.join(part))
                .with_context(|| format!("cannot make {part} in {}", home.display()))?;
        }
        let file = import.join(format!("{}.json", realm::NAME));
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&file)
            .and_then(|mut open| open.write_all(realm.json().to_string().as_bytes()))
            .with_context(|| format!("cannot write {}", file.display()))?;

        let certificate = ca.issue(&["keycloak.test"])?;
        let admin_password = SecretString::from(random::letters(30));
        let mut command = Command::new(program.join("bin/kc.sh"));
        command
            .args(["start", "--optimized", "--import-realm"])
            .arg(format!("-Dkc.home.dir={}", home.display()))
            .env("JAVA_OPTS_APPEND", java_options(&home))
            // One node.
            .env("KC_CACHE", "local")
            .env("KC_HOSTNAME", URL)
            .env("KC_HTTP_HOST", listen.ip().to_string())
            .env("KC_HTTPS_PORT", listen.port().to_string())
            .env("KC_HTTPS_CERTIFICATE_FILE", &certificate.certificate)
            .env("KC_HTTPS_CERTIFICATE_KEY_FILE", &certificate.key)
            .env("KC_BOOTSTRAP_ADMIN_USERNAME", ADMIN)
            .env(
                "KC_BOOTSTRAP_ADMIN_PASSWORD",
                admin_password.expose_secret(),
            );
        // Nothing of it is to be kept.
        let daemon = Daemon::spawn("Keycloak", command, &folder.join("keycloak.log"))?
            .ended_by(Signal::SIGKILL);
        daemon.wait_for_line("Listening on: ", START).await?;
        let trust = tls::client(&ca.file()).map_err(|words| anyhow!(words))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(trust)
            .https_only(true)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(Duration::from_mins(1))
            .build()
            .context("HTTP cannot be set up")?;
        Ok(Self {
            daemon,
            http,
            realm,
            admin_password,
        })
    }

    /// The realm's URL: the issuer, as its tokens name it.
    #[must_use]
    pub fn issuer() -> String {
        format!("{URL}/realms/{}", realm::NAME)
    }

    /// Where tokens are to be had.
    #[must_use]
    pub fn token_endpoint() -> String {
        format!("{}/protocol/openid-connect/token", Self::issuer())
    }

    /// The realm that it was started with.
    #[must_use]
    pub fn realm(&self) -> &Realm {
        &self.realm
    }

    /// Its process with what it prints.
    #[must_use]
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// Does what a person does who opens the link of a device flow: logs in, and confirms.
    pub async fn approve(&self, link: &str, person: &str) -> anyhow::Result<()> {
        let password = self.realm.password(person)?;
        let mut browser = Browser::new(self.http.clone());
        let approved = browser.approve(link, person, password).await;
        approved.with_context(|| format!("{person} cannot approve at Keycloak"))
    }

    /// Logs the admin in.
    pub async fn admin(&self) -> anyhow::Result<Admin> {
        Admin::log_in(self.http.clone(), URL, ADMIN, &self.admin_password).await
    }
}

/// It lives for a minute or two: less time for the compiler, less memory; and no files elsewhere.
fn java_options(home: &Path) -> String {
    format!(
        "-XX:TieredStopAtLevel=1 -XX:-UseG1GC -XX:+UseSerialGC -XX:-UsePerfData \
         -Djava.io.tmpdir={}/tmp",
        home.display()
    )
}
