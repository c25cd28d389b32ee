//! What people order, on the real parts: somebody logs in for an account, a delivery is cut off, a
//! schedd is given up, an account is offboarded. KDC, Vault, issuer, bastion, credmons, a pool.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use htvault::kerberos::Ticket;
use htvault::{Client, CredentialUrl, ErrorKind, IssuedToken, Settings, VaultToken};
use integration::chain::{ADMIN, Chain, Lives, VAULT, installed};
use integration::dev::tls;
use integration::pool::Pool;
use integration::process::Daemon;
use integration::{sandbox, wait};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};

const FAR: Duration = Duration::from_mins(2);

/// One chain at a time: they share the sandbox's addresses.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

const LIVES: Lives = Lives {
    access_token: 3600,
    access_minimum: 2400,
    vault_token: 604_800,
    renew_below: 259_200,
};

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
    let one = ONE.lock().await;
    let folder = tempfile::tempdir_in(sandbox::run_folder().unwrap()).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let chain = Chain::start(folder.path(), LIVES).await.unwrap();
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
         accounts:\n  crabtw: {{credentials: {{cms_crab: {{}}}}}}\n  cmsprod: {{credentials: {{cms: {{}}}}}}\n",
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
        let output = self.bastion(arguments).stdin(Stdio::null()).output();
        tokio::time::timeout(FAR, output).await.unwrap().unwrap()
    }

    async fn start(&mut self) {
        let log = self.chain.folder().join("bastion.log");
        let service = Daemon::spawn("token-bastion", self.bastion(&["run"]), &log).unwrap();
        self.service = Some(service);
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
            .access_token(&url, &login, &Default::default())
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

    /// `onboard --json` with somebody who approves as `person`; its last line, and the exit code.
    async fn onboard(&self, person: &str, arguments: &[&str]) -> (Value, i32) {
        let mut command = self.bastion(&["onboard", "--json"]);
        let mut child = command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
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

fn text(output: &Output) -> String {
    format!(
        "exit {:?}\n--- stdout\n{}--- stderr\n{}",
        output.status.code(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// What became of each step of an order, by delivery.
fn became(output: &Output) -> Vec<Vec<String>> {
    let cuts: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(output)));
    steps(&cuts)
}

fn steps(cuts: &Value) -> Vec<Vec<String>> {
    let words = |cut: &Value| {
        let steps = cut["steps"].as_array().unwrap().iter();
        steps
            .map(|step| step["became"].as_str().unwrap().to_owned())
            .collect()
    };
    cuts.as_array().unwrap().iter().map(words).collect()
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

#[tokio::test]
async fn an_account_that_waits_for_somebody_is_good_after_onboarding() {
    let mut parts = parts().await;
    parts.forget_grant("crabtw", "crab").await;
    parts.start().await;
    let notice = parts
        .status(|status| {
            let problems = status["problems"].as_array()?;
            let problem = problems.iter().find(|p| p["kind"] == "not_onboarded")?;
            Some(problem["message"].as_str()?.to_owned())
        })
        .await;
    let command = "token-bastion onboard --account crabtw --service cms_crab";
    assert!(notice.ends_with(command), "{notice}");

    // Somebody else logs in: nothing is stored.
    let account = ["--account", "crabtw"];
    let (said, code) = parts.onboard("cmsprod", &account).await;
    assert_eq!((code, &said["stored"]), (1, &false.into()), "{said}");
    let problem = said["problem"].as_str().unwrap();
    for part in ["cmsprod logged in", "crabtw's", "log in as crabtw"] {
        assert!(problem.contains(part), "{problem}");
    }
    assert!(!parts.has_grant("crabtw", "crab").await);

    let (said, code) = parts.onboard("crabtw", &account).await;
    assert_eq!((code, &said["stored"]), (0, &true.into()), "{said}");
    assert_eq!(said["trial"]["good"]["subject"], "crabtw", "{said}");
    parts.all_good().await;

    // Its age is known, and since it may end within the time of warning, people are told.
    let grant = parts
        .status(|status| {
            let grants = status["grants"].as_array()?;
            let crabtw = grants.iter().find(|g| g["account"] == "crabtw")?;
            (crabtw["warn"] == true).then(|| crabtw.clone())
        })
        .await;
    assert!(grant["onboarded"].is_string(), "{grant}");
    assert_eq!(grant["warn"], true, "{grant}");
    let status = parts.run(&["status"]).await;
    assert_eq!(status.status.code(), Some(0), "a warning is no failure");
    assert!(text(&status).contains("may end in"), "{}", text(&status));

    // What works already is left alone.
    let (said, code) = parts.onboard("crabtw", &account).await;
    assert_eq!((code, &said["stored"]), (0, &false.into()), "{said}");
}

#[tokio::test]
async fn one_of_two_deliveries_is_cut_off_and_stays_so_over_a_restart() {
    let mut parts = parts().await;
    parts.start().await;
    parts.all_good().await;
    let cut = parts.stored("here", "crabtw", "cms_crab").unwrap();
    let kept = parts.stored("there", "crabtw", "cms_crab").unwrap();
    let revoke = ["revoke", "--account", "crabtw", "--schedd", "here"];
    let output = parts.run(&[&revoke[..], &["--json"]].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(
        became(&output),
        [["done", "done", "done"]],
        "{}",
        text(&output)
    );
    assert!(!parts.lives(&cut).await);
    assert!(parts.lives(&kept).await);
    let is_off = |parts: &Parts| {
        let folder = parts.folder("here", "crabtw");
        !has_top(&folder) && !folder.join("cms_crab.use").exists()
    };
    assert!(is_off(&parts));

    // The service goes on with the others, and not with that one, after a restart too.
    for _ in 0..2 {
        let push = ["push", "--account", "crabtw", "--schedd", "there"];
        let output = parts.run(&push).await;
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let status = parts.status(|status| Some(status.clone())).await;
        assert_eq!(state(&status, "crabtw", "here"), "cut_off");
        assert_eq!(state(&status, "crabtw", "there"), "good");
        assert!(is_off(&parts));
        parts.stop().await;
        parts.start().await;
        parts
            .status(|status| (state(status, "cmsprod", "here") == "good").then_some(()))
            .await;
    }

    let push = ["push", "--account", "crabtw", "--schedd", "here"];
    let output = parts.run(&push).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    parts.all_good().await;
}

#[tokio::test]
async fn without_a_service_a_token_is_named_for_vaults_admins() {
    let mut parts = parts().await;
    parts.start().await;
    parts.all_good().await;
    let token = parts.stored("here", "crabtw", "cms_crab").unwrap();
    let accessor = parts.client.lookup_self(&token).await.unwrap().accessor;
    // The ledger is saved when the service stops, at the latest.
    parts.stop().await;
    // As at a credd, nothing can be read back.
    fs::remove_dir_all(parts.folder("here", "crabtw")).unwrap();
    let output = parts.run(&["revoke", "--all-at", "here", "--json"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    // cmsprod's could be read back and was revoked.
    let expected = [
        vec!["done", "done", "done"],
        vec!["not_done", "nothing", "done"],
    ];
    assert_eq!(became(&output), expected, "{}", text(&output));
    let command = format!("bao token revoke -accessor {accessor}");
    assert!(text(&output).contains(&command), "{}", text(&output));

    // What the admins do then ends it.
    assert!(parts.lives(&token).await);
    let url = format!("http://{ADMIN}/kill");
    let kill = serde_json::json!({"accessor": accessor});
    let browser = browser(&parts.chain);
    let answer = browser.post(url).json(&kill).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    assert!(!parts.lives(&token).await);
}

#[tokio::test]
async fn an_account_is_offboarded_with_proof_and_a_second_run_finds_nothing_left() {
    let mut parts = parts().await;
    parts.start().await;
    parts.all_good().await;
    let tokens = ["here", "there"].map(|at| parts.stored(at, "crabtw", "cms_crab").unwrap());
    let offboard = ["offboard", "--account", "crabtw"];
    let dry = parts.run(&[&offboard[..], &["--dry-run"]].concat()).await;
    assert_eq!(dry.status.code(), Some(0), "{}", text(&dry));
    assert!(
        text(&dry).contains("forget refresh token cms/crabtw:crab"),
        "{}",
        text(&dry)
    );
    let unsure = parts.run(&offboard).await;
    assert_eq!(unsure.status.code(), Some(2), "{}", text(&unsure));
    assert!(parts.lives(&tokens[0]).await && parts.has_grant("crabtw", "crab").await);

    // A schedd that cannot be written keeps the refresh token, and nothing else.
    let folder = parts.chain.folder().join("there");
    let aside = parts.chain.folder().join("aside");
    fs::rename(&folder, &aside).unwrap();
    fs::write(&folder, "no folder").unwrap();
    let run = async |parts: &Parts| {
        let output = parts
            .run(&[&offboard[..], &["--yes", "--json"]].concat())
            .await;
        let whole: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)));
        (whole, output.status.code())
    };
    let (whole, code) = run(&parts).await;
    assert_eq!((code, &whole["done"]), (Some(1), &false.into()), "{whole}");
    for token in &tokens {
        assert!(!parts.lives(token).await, "{whole}");
    }
    assert!(parts.has_grant("crabtw", "crab").await, "{whole}");

    fs::remove_file(&folder).unwrap();
    fs::rename(&aside, &folder).unwrap();
    let (whole, code) = run(&parts).await;
    assert_eq!((code, &whole["done"]), (Some(0), &true.into()), "{whole}");
    assert_eq!(whole["vault"][0]["became"], "done", "{whole}");
    for at in ["here", "there"] {
        assert!(!has_top(&parts.folder(at, "crabtw")), "{whole}");
    }
    assert!(!parts.has_grant("crabtw", "crab").await);

    let (whole, code) = run(&parts).await;
    assert_eq!(code, Some(0), "{whole}");
    assert_eq!(whole["vault"][0]["became"], "nothing", "{whole}");
    let status = parts.status(|status| Some(status.clone())).await;
    assert_eq!(state(&status, "crabtw", "here"), "cut_off");
    assert_eq!(state(&status, "cmsprod", "here"), "good");
}

#[tokio::test]
async fn a_stolen_schedd_of_a_pool_loses_every_token_whether_it_answers_or_not() {
    let _one = ONE.lock().await;
    let folder = tempfile::tempdir_in(sandbox::run_folder().unwrap()).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let chain = Chain::start(folder.path(), LIVES).await.unwrap();
    let options = installed::pool_options(&chain).unwrap();
    let pool = Pool::start(&folder.path().join("pool"), &chain.ca, &options)
        .await
        .unwrap();
    let mut bastion = installed::bastion(&chain, &pool).unwrap();
    bastion.arg("run");
    let log = folder.path().join("bastion.log");
    let mut service = Daemon::spawn("token-bastion", bastion, &log).unwrap();
    let client = client(&chain);
    let order = async |arguments: &[&str]| {
        let mut command = pool.command("root", "/usr/sbin/token-bastion");
        command.args(["--config", "/etc/token-bastion/token-bastion.yaml"]);
        let output = command.args(arguments).kill_on_drop(true).output();
        tokio::time::timeout(FAR, output).await.unwrap().unwrap()
    };
    let all_good = async || {
        wait::until("all good", FAR, async || {
            let output = order(&["status", "--json"]).await;
            let status: Value =
                serde_json::from_slice(&output.stdout).map_err(|_| text(&output))?;
            let good = deliveries(&status)
                .iter()
                .all(|line| line["state"] == "good");
            good.then_some(()).ok_or(status.to_string())
        })
        .await
        .unwrap();
    };
    let tokens = || {
        let folder = pool.credentials();
        let mut found = Vec::new();
        for (account, service) in [
            ("cmsprod", "cms"),
            ("cmsprod", "cms_production"),
            ("crabtw", "cms_crab"),
        ] {
            let top = folder.join(account).join(format!("{service}.top"));
            if let Ok(text) = fs::read(top) {
                let content: Value = serde_json::from_slice(&text).unwrap();
                found.push(VaultToken::from(
                    content["vault_token"].as_str().unwrap().to_owned(),
                ));
            }
        }
        found
    };
    let none_lives = async |tokens: &[VaultToken]| {
        for token in tokens {
            let error = client.lookup_self(token).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TokenRejected, "{error}");
        }
    };
    all_good().await;
    let before = tokens();
    assert_eq!(before.len(), 3);
    let output = order(&["revoke", "--all-at", pool.host(), "--json"]).await;
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}\n{}",
        text(&output),
        service.tail(20)
    );
    assert_eq!(
        became(&output),
        vec![["done", "done", "done"]; 3],
        "{}",
        text(&output)
    );
    none_lives(&before).await;
    assert!(tokens().is_empty());

    let output = order(&["push"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let before = tokens();
    assert_eq!(before.len(), 3);
    // Its credd does not answer any more.
    let off = pool
        .run("root", &["condor_off", "-fast", "-daemon", "credd"])
        .await;
    off.unwrap();
    wait::until("the credd's end", FAR, async || {
        let user = [
            "condor_ping",
            "-type",
            "CREDD",
            "-name",
            pool.host(),
            "READ",
        ];
        let answer = pool.run("root", &user).await;
        answer.map_or(Some(()), |answer| (answer.code != Some(0)).then_some(()))
    })
    .await
    .unwrap();
    let output = order(&["revoke", "--all-at", pool.host(), "--json"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert_eq!(
        became(&output),
        vec![["done", "not_done", "done"]; 3],
        "{}",
        text(&output)
    );
    none_lives(&before).await;
    assert_eq!(tokens().len(), 3, "nobody could delete them");
    service.stop().await.unwrap();
}
