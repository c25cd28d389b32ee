//! The real htgettoken from `PyPI` against `htvault-dev`, with tickets of a real KDC. Needs the
//! sandbox, and `integration/setup/htgettoken`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

#[path = "../dev_server/mod.rs"]
mod dev_server;
mod user;

use std::fs;
use std::time::Duration;

use dev_server::{ROBOT, SECOND_URL, TWO_NODES};
use integration::process::Daemon;
use user::User;

const CREDS: &str = "/v1/secret/oauth/creds/cms/cmsprod:crab";
const STS: &str = "/v1/secret/oauth/sts/cms/cmsprod:crab";

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
