//! The real htgettoken from `PyPI` against `htvault-dev`, with tickets of a real KDC. Needs the
//! sandbox, and `integration/setup/htgettoken`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

mod dev_server;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use dev_server::{DevServer, ROBOT, SECOND_URL, TWO_NODES, URL};
use htvault::Claims;
use integration::process::Daemon;
use serde_json::Value;
use tokio::process::Command;

const CREDS: &str = "/v1/secret/oauth/creds/cms/cmsprod:crab";
const STS: &str = "/v1/secret/oauth/sts/cms/cmsprod:crab";

/// A user of htgettoken: a server, a ticket, places for the tokens.
struct User {
    server: DevServer,
    program: PathBuf,
}

/// What one run of htgettoken did.
struct Ran {
    code: Option<i32>,
    said: String,
    /// What the servers were asked, without the queries of htgettoken.
    requests: Vec<String>,
}

impl User {
    async fn new(more: &[&str]) -> Self {
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

    fn path(&self, name: &str) -> PathBuf {
        self.server.path(name)
    }

    /// Gets a ticket, as a person or a cron job does.
    async fn kinit(&self, principal: &str, keytab: &str) {
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
    fn usual(&self) -> Vec<String> {
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

    fn prepared(&self, program: &str) -> Command {
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
    async fn htgettoken(&self, more: &[&str]) -> Ran {
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

    fn requests_after(&self, before: usize) -> Vec<String> {
        let all = self.server.requests();
        let vault = all
            .iter()
            .skip(before)
            .filter(|line| line["server"] == "vault");
        vault.map(in_words).collect()
    }

    fn stored(&self, name: &str) -> String {
        let file = self.path(name);
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
        fs::read_to_string(file).unwrap().trim_end().to_owned()
    }

    fn claims(&self) -> Claims {
        Claims::read(&self.stored("bt")).unwrap()
    }

    /// `lookup-self` of the vault token that it stored.
    async fn lookup(&self) -> Value {
        let answer = (self.http())
            .get(format!("{URL}/v1/auth/token/lookup-self"))
            .header("X-Vault-Token", self.stored("vt"));
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json::<Value>().await.unwrap()["data"].clone()
    }

    fn http(&self) -> reqwest::Client {
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

const LOGIN: &str = "POST /v1/auth/kerberos-cms_crab/login 200";
const CREATE: &str = "POST /v1/auth/token/create 200";
const LOOKUP: &str = "GET /v1/auth/token/lookup-self 200";

#[tokio::test]
async fn a_ticket_and_a_credkey_give_both_tokens() {
    let user = User::new(&["--grant", "cms:cmsprod:crab"]).await;
    user.kinit("cmsprod", "cmsprod.keytab").await;
    let ran = user.htgettoken(&["--credkey", "cmsprod"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    let read = format!("GET {CREDS}?minimum_seconds=60 200");
    assert_eq!(ran.requests, [LOGIN, CREATE, &read], "{}", ran.said);
    let lookup = user.lookup().await;
    assert_eq!(lookup["creation_ttl"], 604_800);
    assert_eq!(lookup["renewable"], false);
    assert_eq!(lookup["policies"][0], "kerberos-cms_crab");
    let claims = user.claims();
    assert_eq!(claims.subject.as_deref(), Some("cmsprod"));
    assert_eq!(
        claims.issuer.as_deref(),
        Some("https://issuer.test:8443/cms")
    );
    assert_eq!(claims.audience, ["https://wlcg.cern.ch/jwt/v1/any"]);
    assert_eq!(claims.wlcg_version.as_deref(), Some("1.0"));
    assert!(claims.scopes.iter().any(|scope| scope == "condor:/WRITE"));

    // The second time the vault token is still good, and Vault's access token too.
    let (vault, bearer) = (user.stored("vt"), user.stored("bt"));
    let ran = user.htgettoken(&["--credkey", "cmsprod"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    assert_eq!(ran.requests, [read]);
    assert_eq!((user.stored("vt"), user.stored("bt")), (vault, bearer));
}

#[tokio::test]
async fn vault_tokens_live_as_long_as_asked_and_are_replaced_below_a_minimum() {
    let user = User::new(&["--grant", "cms:cmsprod:crab"]).await;
    user.kinit("cmsprod", "cmsprod.keytab").await;
    let hours = ["--credkey", "cmsprod", "--vaulttokenttl", "36h"];
    assert_eq!(user.htgettoken(&hours).await.code, Some(0));
    assert_eq!(user.lookup().await["creation_ttl"], 36 * 3600);
    let first = user.stored("vt");

    let usual = ["--credkey", "cmsprod", "--vaulttokenttl", "3d"];
    let enough = [&usual[..], &["--vaulttokenminttl", "1d"]].concat();
    let ran = user.htgettoken(&enough).await;
    let read = format!("GET {CREDS}?minimum_seconds=60 200");
    assert_eq!(ran.requests, [LOOKUP, &read], "{}", ran.said);
    assert_eq!(user.stored("vt"), first);

    let below = [&usual[..], &["--vaulttokenminttl", "2d"]].concat();
    let ran = user.htgettoken(&below).await;
    assert_eq!(ran.requests, [LOOKUP, LOGIN, CREATE, &read], "{}", ran.said);
    assert_ne!(user.stored("vt"), first);
    assert_eq!(user.lookup().await["creation_ttl"], 3 * 86_400);

    // Beyond the million seconds that may lie on a disk it refuses by itself.
    let long = ["--credkey", "cmsprod", "--vaulttokenttl", "28d"];
    let ran = user.htgettoken(&long).await;
    assert_eq!((ran.code, ran.requests.len()), (Some(1), 0), "{}", ran.said);
}

#[tokio::test]
async fn the_login_token_itself_serves_when_that_is_what_was_asked_for() {
    let user = User::new(&["--grant", "cms:cmsprod:crab", "--login-life", "7d"]).await;
    user.kinit("cmsprod", "cmsprod.keytab").await;
    let only = ["--credkey", "cmsprod", "--nobearertoken"];
    let ran = user.htgettoken(&only).await;
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    assert_eq!(ran.requests, [LOGIN]);
    assert_eq!(user.lookup().await["orphan"], true);
    assert!(!user.path("bt").exists());
}

#[tokio::test]
async fn scopes_and_audience_give_a_reduced_token() {
    let user = User::new(&["--grant", "cms:cmsprod:crab"]).await;
    user.kinit("cmsprod", "cmsprod.keytab").await;
    let reduced = [
        "--credkey",
        "cmsprod",
        "--scopes",
        "storage.read:/,compute.read",
        "--audience",
        "https://a.example,https://b.example",
    ];
    let ran = user.htgettoken(&reduced).await;
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    let read = &ran.requests[2];
    assert!(
        read.starts_with(&format!("GET {STS}?minimum_seconds=60&scopes=")),
        "{read}"
    );
    assert!(read.contains("&audiences="), "{read}");
    let claims = user.claims();
    assert_eq!(claims.scopes, ["storage.read:/", "compute.read"]);
    assert_eq!(claims.audience, ["https://a.example", "https://b.example"]);
    // The whole one is still there for who asks for it.
    assert_eq!(
        user.htgettoken(&["--credkey", "cmsprod"]).await.code,
        Some(0)
    );
    assert!(user.claims().scopes.len() > 2);

    let more = ["--credkey", "cmsprod", "--scopes", "storage.modify:/"];
    let ran = user.htgettoken(&more).await;
    assert_eq!(ran.code, Some(1), "{}", ran.said);
    assert!(
        ran.requests.iter().any(|line| line.ends_with(" 400")),
        "{:?}",
        ran.requests
    );
}

#[tokio::test]
async fn minsecs_is_what_the_bearer_token_has_left() {
    let user = User::new(&["--grant", "cms:cmsprod:crab"]).await;
    user.kinit("cmsprod", "cmsprod.keytab").await;
    let ran = user
        .htgettoken(&["--credkey", "cmsprod", "--minsecs", "3000"])
        .await;
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    assert!(ran.requests[2].contains("?minimum_seconds=3000 200"));
    let first = user.claims().id;
    // More than the issuer gives cannot be had; what was stored before is left alone.
    let ran = user
        .htgettoken(&["--credkey", "cmsprod", "--minsecs", "7200"])
        .await;
    assert_eq!(ran.code, Some(1), "{}", ran.said);
    assert!(
        ran.requests[0].contains("?minimum_seconds=7200 400"),
        "{:?}",
        ran.requests
    );
    assert_eq!(user.claims().id, first);
}

#[tokio::test]
async fn a_robot_has_its_own_credential() {
    let grant = format!("cms:{ROBOT}:crab");
    let user = User::new(&["--grant", &grant]).await;
    user.kinit(ROBOT, "robot.keytab").await;
    let ran = user.htgettoken(&["--credkey", ROBOT]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    let read = format!("GET /v1/secret/oauth/creds/cms/{ROBOT}:crab?minimum_seconds=60 200");
    assert_eq!(ran.requests, [LOGIN, CREATE, &read]);
    assert_eq!(user.claims().subject.as_deref(), Some("cmsprod"));
    // The account's own is not the robot's.
    fs::remove_file(user.path("vt")).unwrap();
    let ran = user.htgettoken(&["--credkey", "cmsprod"]).await;
    assert_eq!(ran.code, Some(1), "{}", ran.said);
    assert_eq!(
        ran.requests[2],
        format!("GET {CREDS}?minimum_seconds=60 403")
    );
}

#[tokio::test]
async fn one_node_of_a_cluster_is_addressed_under_the_alias_of_all() {
    let grant = ["--grant", "cms:cmsprod:crab"];
    let user = User::new(&[&TWO_NODES[..], &grant[..]].concat()).await;
    user.kinit("cmsprod", "cmsprod.keytab").await;
    let alias = ["--vaultserver", SECOND_URL, "--vaultalias", "vault.test"];
    let ran = user
        .htgettoken(&[&alias[..], &["--credkey", "cmsprod"]].concat())
        .await;
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    assert_eq!(user.lookup().await["creation_ttl"], 604_800);
    // Without the alias the ticket would be for host/vault2.test, which the realm does not know.
    fs::remove_file(user.path("vt")).unwrap();
    let alone = ["--vaultserver", SECOND_URL, "--credkey", "cmsprod"];
    let ran = user.htgettoken(&alone).await;
    assert_eq!((ran.code, ran.requests.len()), (Some(1), 0), "{}", ran.said);
}

#[tokio::test]
async fn without_a_ticket_or_a_stored_refresh_token_nothing_is_given() {
    let user = User::new(&[]).await;
    let ran = user.htgettoken(&["--credkey", "cmsprod"]).await;
    assert_eq!((ran.code, ran.requests.len()), (Some(1), 0), "{}", ran.said);
    user.kinit("cmsprod", "cmsprod.keytab").await;
    let ran = user.htgettoken(&["--credkey", "cmsprod"]).await;
    assert_eq!(ran.code, Some(1), "{}", ran.said);
    assert_eq!(
        ran.requests[2],
        format!("GET {CREDS}?minimum_seconds=60 404")
    );
    assert!(!user.path("bt").exists());
}

#[tokio::test]
async fn the_first_time_a_person_approves_and_later_a_ticket_is_enough() {
    let user = User::new(&["--poll-interval", "1s"]).await;
    user.kinit("cmsprod", "cmsprod.keytab").await;
    // It offers OIDC on a terminal only, which `script` is.
    let mut line = user.program.display().to_string();
    let quiet = ["--web-open-command".to_owned(), "''".to_owned()];
    for word in user.usual().into_iter().chain(quiet) {
        line.push(' ');
        line.push_str(&word);
    }
    let mut command = user.prepared("script");
    command
        .args(["--quiet", "--return", "--flush", "--command", &line])
        .arg("/dev/null");
    let log = user.path("terminal.log");
    let mut terminal = Daemon::spawn("htgettoken", command, &log).unwrap();
    let soon = Duration::from_mins(1);
    let shown = terminal.wait_for_line("/device?user_code=", soon).await;
    let url: url::Url = shown.unwrap().trim().parse().unwrap();

    // The person's browser: the page, then its form.
    let page = user.http().get(url.clone()).send().await.unwrap();
    assert!(
        page.text()
            .await
            .unwrap()
            .contains("storage.create:/store/temp/user")
    );
    let code = url.query_pairs().next().unwrap().1.into_owned();
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("user_code", &code)
        .append_pair("credkey", "cmsprod")
        .append_pair("action", "approve")
        .finish();
    let approved = (user.http().post(url.join("/device").unwrap()))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(form);
    assert_eq!(approved.send().await.unwrap().status(), 200);

    let status = terminal.wait(soon).await.unwrap();
    assert!(status.success(), "{}", terminal.tail(30));
    let mut requests = user.requests_after(0);
    requests.retain(|line| line != "POST /v1/auth/oidc-cms/oidc/poll 400");
    assert_eq!(
        requests,
        [
            "POST /v1/auth/oidc-cms/oidc/auth_url 200",
            "POST /v1/auth/oidc-cms/oidc/poll 200",
            CREATE,
            &format!("POST {CREDS} 204"),
            &format!("GET {CREDS}?minimum_seconds=60 200"),
        ],
        "{}",
        terminal.tail(30)
    );
    assert_eq!(user.lookup().await["policies"][0], "oidc-cms_crab");
    assert_eq!(user.claims().subject.as_deref(), Some("cmsprod"));
    // It remembers the credkey, so none is needed from now on.
    let credkey = fs::read_to_string(user.path("home/config/credkey-cms-crab")).unwrap();
    assert_eq!(credkey.trim_end(), "cmsprod");

    fs::remove_file(user.path("vt")).unwrap();
    let ran = user.htgettoken(&[]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    let read = format!("GET {CREDS}?minimum_seconds=60 200");
    assert_eq!(ran.requests, [LOGIN, CREATE, &read]);
    assert_eq!(user.lookup().await["policies"][0], "kerberos-cms_crab");
}
