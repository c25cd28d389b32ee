//! A user of htgettoken: what it is called with, and what it left.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use htvault::Claims;
use serde_json::Value;
use tokio::process::Command;

use crate::dev_server::{DevServer, URL};

/// A user of htgettoken: a server, a ticket, places for the tokens.
pub struct User {
    pub server: DevServer,
    pub program: PathBuf,
}

/// What one run of htgettoken did.
pub struct Ran {
    pub code: Option<i32>,
    pub said: String,
    /// What the servers were asked, without the queries of htgettoken.
    pub requests: Vec<String>,
}

impl User {
    pub async fn new(more: &[&str]) -> Self {
        let place = std::env::var_os("TOKEN_BASTION_HTGETTOKEN").expect("set by the sandbox");
        let program = PathBuf::from(place).join("bin/htgettoken");
        assert!(
            program.exists(),
            "no htgettoken: run integration/setup/htgettoken"
        );
        let user = Self {
            server: DevServer::start(more).await,
            program,
        };
        fs::create_dir(user.path("home")).unwrap();
        user
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.server.path(name)
    }

    /// Gets a ticket, as a person or a cron job does.
    pub async fn kinit(&self, principal: &str, keytab: &str) {
        let mut kinit = self.server.kdc.program("kinit");
        kinit
            .env("KRB5CCNAME", self.path("ccache"))
            .arg("-k")
            .arg("-t")
            .arg(self.path(keytab))
            .arg(format!("{principal}@TEST"));
        let output = kinit.output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// What it is called with each time, beside the options under test.
    pub fn usual(&self) -> Vec<String> {
        let path = |name: &str| self.path(name).display().to_string();
        let mut usual: Vec<String> = "--vaultserver vault.test --issuer cms --role crab"
            .split(' ')
            .map(String::from)
            .collect();
        for (option, value) in [
            ("--cafile", self.server.ca_file.display().to_string()),
            ("--capath", path("home")),
            ("--configdir", path("home/config")),
            ("--vaulttokenfile", path("vt")),
            ("--outfile", path("bt")),
        ] {
            usual.extend([option.to_owned(), value]);
        }
        usual
    }

    pub fn prepared(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.path("home"))
            .env("LC_ALL", "C.UTF-8")
            .env("KRB5_CONFIG", self.server.kdc.krb5_conf())
            .env("KRB5CCNAME", self.path("ccache"));
        command
    }

    /// Runs it in the background, as cron does: without a terminal it tries no OIDC.
    pub async fn htgettoken(&self, more: &[&str]) -> Ran {
        let before = self.server.requests().len();
        let mut command = self.prepared(self.program.to_str().unwrap());
        command.args(self.usual()).args(more);
        let output = command.output().await.unwrap();
        let mut said = String::from_utf8(output.stdout).unwrap();
        said.push_str(&String::from_utf8(output.stderr).unwrap());
        Ran {
            code: output.status.code(),
            said,
            requests: self.requests_after(before),
        }
    }

    pub fn requests_after(&self, before: usize) -> Vec<String> {
        let all = self.server.requests();
        let vault = all
            .iter()
            .skip(before)
            .filter(|line| line["server"] == "vault");
        vault.map(in_words).collect()
    }

    pub fn stored(&self, name: &str) -> String {
        let file = self.path(name);
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
        fs::read_to_string(file).unwrap().trim_end().to_owned()
    }

    pub fn claims(&self) -> Claims {
        Claims::read(&self.stored("bt")).unwrap()
    }

    /// `lookup-self` of the vault token that it stored.
    pub async fn lookup(&self) -> Value {
        let answer = (self.http())
            .get(format!("{URL}/v1/auth/token/lookup-self"))
            .header("X-Vault-Token", self.stored("vt"));
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json::<Value>().await.unwrap()["data"].clone()
    }

    pub fn http(&self) -> reqwest::Client {
        let trust = integration::dev::tls::client(&self.server.ca_file).unwrap();
        reqwest::Client::builder()
            .tls_backend_preconfigured(trust)
            .no_proxy()
            .build()
            .unwrap()
    }
}

fn in_words(line: &Value) -> String {
    let text = |name: &str| line[name].as_str().unwrap();
    let query = text("query");
    let mark = if query.is_empty() { "" } else { "?" };
    format!(
        "{} {}{mark}{query} {}",
        text("method"),
        text("path"),
        line["status"]
    )
}
