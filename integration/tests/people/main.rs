//! What people order, on the real parts: somebody logs in for an account, a delivery is revoked, a
//! schedd is given up, an account is offboarded. KDC, Vault, issuer, bastion, credmons, a pool.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod offboard;
mod onboard;
mod revoke;
mod stolen;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use htvault::kerberos::Ticket;
use htvault::{
    AccessTokenRequest, Client, CredentialUrl, ErrorKind, IssuedToken, Settings, VaultToken,
};
use integration::chain::{ADMIN, Chain, Lives, VAULT};
use integration::conformance::admin::Admin;
use integration::dev::tls;
use integration::ended::{self, text};
use integration::process::Daemon;
use integration::wait::FAR;
use integration::{sandbox, wait};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout};

type Lines = tokio::io::Lines<BufReader<ChildStdout>>;

/// One chain at a time: they share the sandbox's addresses.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A bastion on this host that delivers into two credential directories, each with its credmon.
struct Parts {
    chain: Chain,
    config: PathBuf,
    client: Client,
    service: Option<Daemon>,
    _credmons: Vec<Daemon>,
    _folder: tempfile::TempDir,
    _one: tokio::sync::MutexGuard<'static, ()>,
}

fn client(chain: &Chain) -> Client {
    let mut settings = Settings::new(VAULT.parse().unwrap());
    settings.tls.ca_file = Some(chain.ca.file());
    Client::new(&settings).unwrap()
}

fn browser(chain: &Chain) -> reqwest::Client {
    let trust = tls::client(&chain.ca.file()).unwrap();
    let builder = reqwest::Client::builder().tls_backend_preconfigured(trust);
    builder.no_proxy().build().unwrap()
}

async fn parts() -> Parts {
    parts_of("").await
}

/// The same with further lines of configuration for accounts.
async fn parts_of(accounts: &str) -> Parts {
    let one = ONE.lock().await;
    let folder = sandbox::new_folder().unwrap();
    let chain = Chain::start(folder.path(), Lives::HOUR).await.unwrap();
    chain.kdc.use_here().unwrap();
    let mut credmons = Vec::new();
    for name in ["here", "there"] {
        let directory = folder.path().join(name);
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o2770)).unwrap();
        let log = folder.path().join(format!("credmon-{name}.log"));
        let command = chain.credmon(&directory).unwrap();
        credmons.push(Daemon::spawn("credmon", command, &log).unwrap());
    }
    let at = folder.path().display();
    let yaml = format!(
        "vault: {{address: {VAULT}, ca_file: {ca}}}\n\
         control: {{socket: {at}/control}}\nstate: {at}/state\n\
         grant: {{lifetime: 20d, warn: 19d23h59m59s}}\n\
         schedule: {{check: \"* * * * *\", spread: 1s}}\n\
         defaults: {{principal: \"{{account}}@TEST\", keytab: \"{at}/keytabs/{{account}}.keytab\", schedds: [here, there]}}\n\
         schedds:\n  here: {{directory: {at}/here}}\n  there: {{directory: {at}/there}}\n\
         accounts:\n  crabtw: {{credentials: {{cms_crab: {{}}}}}}\n  cmsprod: {{credentials: {{cms: {{}}}}}}\n{accounts}",
        ca = chain.ca.file().display()
    );
    let config = chain.write_bastion_config(&yaml).unwrap();
    Parts {
        config,
        client: client(&chain),
        service: None,
        chain,
        _credmons: credmons,
        _folder: folder,
        _one: one,
    }
}

impl Parts {
    fn bastion(&self, arguments: &[&str]) -> tokio::process::Command {
        let mut bastion = self.chain.bastion(&self.config).unwrap();
        bastion.args(arguments).kill_on_drop(true);
        bastion
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        ended::output(self.bastion(arguments), FAR).await.unwrap()
    }

    async fn start(&mut self) {
        self.service = Some(self.chain.service(&self.config).unwrap());
        self.status(|_| Some(())).await;
    }

    async fn stop(&mut self) {
        self.service.take().unwrap().stop().await.unwrap();
    }

    /// Waits until the service's status is as wanted.
    async fn status<T>(&self, wanted: impl Fn(&Value) -> Option<T>) -> T {
        wait::until("the status that is wanted", FAR, async || {
            let output = self.run(&["status", "--json"]).await;
            let status: Value =
                serde_json::from_slice(&output.stdout).map_err(|_| text(&output))?;
            wanted(&status).ok_or(status.to_string())
        })
        .await
        .unwrap()
    }

    async fn all_good(&self) {
        let good = |line: &Value| line["state"] == "good";
        self.status(|status| deliveries(status).iter().all(good).then_some(()))
            .await;
    }

    fn folder(&self, schedd: &str, account: &str) -> PathBuf {
        self.chain.folder().join(schedd).join(account)
    }

    /// The vault token that is stored at a schedd.
    fn stored(&self, schedd: &str, account: &str, service: &str) -> Option<VaultToken> {
        let top = self.folder(schedd, account).join(format!("{service}.top"));
        let content: Value = serde_json::from_slice(&fs::read(top).ok()?).unwrap();
        Some(VaultToken::from(
            content["vault_token"].as_str()?.to_owned(),
        ))
    }

    async fn lives(&self, token: &VaultToken) -> bool {
        match self.client.lookup_self(token).await {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::TokenRejected => false,
            Err(error) => panic!("{error}"),
        }
    }

    async fn login(&self, account: &str, role: &str) -> IssuedToken {
        let keytab = self.chain.keytabs().join(format!("{account}.keytab"));
        let ticket = Ticket::from_keytab(&format!("{account}@TEST"), &keytab).unwrap();
        let negotiate = ticket.negotiate("host", "vault.test").unwrap();
        self.client.login("cms", role, &negotiate).await.unwrap()
    }

    /// Whether Vault has a refresh token, asked with a login of our own.
    async fn has_grant(&self, account: &str, role: &str) -> bool {
        let url = CredentialUrl::creds(self.client.server(), "cms", account, role).unwrap();
        let login = self.login(account, role).await.token;
        match self
            .client
            .access_token(&url, &login, &AccessTokenRequest::default())
            .await
        {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::NoneStored => false,
            Err(error) => panic!("{error}"),
        }
    }

    async fn forget_grant(&self, account: &str, role: &str) {
        let url = CredentialUrl::creds(self.client.server(), "cms", account, role).unwrap();
        let login = self.login(account, role).await.token;
        self.client
            .forget_refresh_token(&url, &login)
            .await
            .unwrap();
    }

    /// What Vault's admins do with a token of which they know the accessor.
    async fn kill(&self, accessor: &str) {
        self.admin(Method::POST, "/kill", json!({"accessor": accessor}))
            .await;
    }

    /// Vault answers, or nobody does at its address.
    async fn set_vault(&self, up: bool) {
        self.admin(Method::PUT, "/nodes/1", json!({"up": up})).await;
    }

    async fn admin(&self, method: Method, path: &str, body: Value) {
        let admin = Admin::new(&format!("http://{ADMIN}"), &self.chain.ca.file()).unwrap();
        admin.call(method, path, &body).await.unwrap();
    }

    /// All vault tokens that live, as Vault's admins list them.
    async fn tokens(&self) -> Value {
        let admin = Admin::new(&format!("http://{ADMIN}"), &self.chain.ca.file()).unwrap();
        admin
            .call(Method::GET, "/tokens", &Value::Null)
            .await
            .unwrap()
    }

    /// `onboard --json` with somebody who approves as `person`; its last line, and the exit code.
    async fn onboard(&self, person: &str, arguments: &[&str]) -> (Value, i32) {
        let mut command = self.bastion(&["onboard", "--json"]);
        let mut child = command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut last = Value::Null;
        let work = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                last = serde_json::from_str(&line).unwrap();
                if last["event"] == "log_in" {
                    self.approve(&last, person).await;
                }
            }
            child.wait().await.unwrap().code().unwrap()
        };
        let code = tokio::time::timeout(FAR, work).await.unwrap();
        (last, code)
    }

    /// Begins `onboard --json`, by `command`; gives the link when it is there.
    async fn begin(&self, mut command: tokio::process::Command) -> (Child, Lines, Value) {
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let piped = piped.stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = piped.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(FAR, lines.next_line()).await.unwrap();
        let told: Value = serde_json::from_str(&line.unwrap().unwrap()).unwrap();
        assert_eq!(told["event"], "log_in", "{told}");
        (child, lines, told)
    }

    /// Does what a person does in a browser.
    async fn approve(&self, link: &Value, person: &str) {
        let browser = browser(&self.chain);
        let page = link["url"].as_str().unwrap().split('?').next().unwrap();
        let code = link["user_code"].as_str().unwrap();
        let form = format!("user_code={code}&credkey={person}&action=approve");
        let answer = browser
            .post(page)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }
}

fn deliveries(status: &Value) -> &[Value] {
    status["deliveries"].as_array().unwrap()
}

fn state<'a>(status: &'a Value, account: &str, schedd: &str) -> &'a str {
    let is = |line: &&Value| line["account"] == account && line["schedd"] == schedd;
    let line = deliveries(status).iter().find(is).unwrap();
    line["state"].as_str().unwrap()
}

fn has_top(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| {
        entries.any(|entry| {
            entry
                .unwrap()
                .path()
                .extension()
                .is_some_and(|e| e == "top")
        })
    })
}
