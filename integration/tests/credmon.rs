//! What a site sees of the real monitor: its states, its answers to an agent, its metrics, its log,
//! its copies, and what it may do. On a real HTCondor's root, with a real Vault. Needs the sandbox.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use anyhow::ensure;
use integration::address::listen_async;
use integration::differential::rig::{Rig, Side, Tokens};
use integration::differential::table;
use integration::pool::CREDMON;
use integration::process::Daemon;
use integration::wait::FAR;
use integration::{sandbox, wait};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

const STATUS: &str = "/run/views.status";
const METRICS: &str = "/var/lib/condor/differential/views.prom";
const LOG: &str = "/var/log/condor/views";

/// One rig at a time: they share the sandbox's addresses.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

struct Site {
    rig: Rig,
    inside: String,
    tokens: Tokens,
    _folder: TempDir,
}

impl Site {
    async fn new() -> Self {
        let folder = sandbox::new_folder().unwrap();
        let rig = Rig::start(folder.path()).await.unwrap();
        let inside = rig.directory("views", Side::Ours).unwrap();
        let tokens = rig.tokens().await.unwrap();
        Self {
            rig,
            inside,
            tokens,
            _folder: folder,
        }
    }

    /// Stores a `.top` as the credd does.
    fn store(&self, service: &str, top: &str, owner: &str) {
        let folder = self.rig.path(&self.inside).join("cmsprod");
        fs::create_dir_all(&folder).unwrap();
        self.rig.own(&folder, 0o2700, "condor:condor").unwrap();
        let new = folder.join(".new");
        let top = top
            .replace("$TOKEN", self.tokens.living.expose())
            .replace("$DEAD", self.tokens.dead.expose());
        fs::write(&new, top).unwrap();
        self.rig.own(&new, 0o600, owner).unwrap();
        fs::rename(new, folder.join(format!("{service}.top"))).unwrap();
    }

    fn used(&self, service: &str) -> String {
        let file = format!("{}/cmsprod/{service}.use", self.inside);
        fs::read_to_string(self.rig.path(&file)).unwrap_or_default()
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        [
            ("SEC_CREDENTIAL_DIRECTORY_OAUTH", self.inside.as_str()),
            ("CREDMON_OAUTH_LOG", LOG),
            ("CREDMON_HTVAULT_STATUS_FILE", STATUS),
            ("CREDMON_HTVAULT_METRICS_FILE", METRICS),
            (
                "CREDMON_HTVAULT_COPIES",
                "cmsprod/cms /srv/agent/token cmsprod:cmsprod 0400",
            ),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .to_vec()
    }

    fn start(&self, user: &str, arguments: &[&str], settings: &[(&str, String)]) -> Daemon {
        let mut command = self.rig.command(user, CREDMON);
        command.args(arguments);
        for (name, value) in settings {
            command.env(format!("_CONDOR_{name}"), value);
        }
        let output = self.rig.chain.folder().join("views.output");
        Daemon::spawn("the monitor", command, &output).unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.rig.path(LOG)).unwrap_or_default()
    }

    /// `status` with these options, by somebody without any right: exit code and what it said.
    async fn status(&self, options: &[&str]) -> (Option<i32>, String) {
        let all = [&[CREDMON, "status"], options].concat();
        let answer = self.rig.run("nobody", &all).await.unwrap();
        (answer.code, answer.stdout + &answer.stderr)
    }

    /// The states by service.
    async fn states(&self) -> BTreeMap<String, String> {
        let (_, said) = self.status(&["--file", STATUS, "--json"]).await;
        let report: Value = serde_json::from_str(&said).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let credentials = report["credentials"].as_array().cloned();
        (credentials.into_iter().flatten())
            .map(|c| (text(&c["service"]), text(&c["state"])))
            .collect()
    }

    /// Nothing holds a vault token or an access token.
    fn assert_no_secret(&self, text: &str) {
        let access_token = self.used("cms");
        let secrets = [
            self.tokens.living.expose(),
            self.tokens.dead.expose(),
            access_token.trim(),
            // The signature alone would be too much.
            access_token.trim().rsplit('.').next().unwrap(),
        ];
        for secret in secrets {
            assert!(!secret.is_empty() && !text.contains(secret), "{text}");
        }
    }
}

const SLOW: &str = r#"{"vault_token":"$TOKEN","vault_url":"https://vault2.test:8200/v1/secret/oauth/creds/cms/cmsprod:default"}"#;

#[tokio::test]
async fn the_views_of_a_site() {
    let _one = ONE.lock().await;
    let site = Site::new().await;
    site.store("cms", table::TOP, "root:condor");
    let refused = table::TOP.replace("cmsprod:default", "crabtw:crab");
    site.store("cms_refused", &refused, "root:condor");
    let dead = table::TOP.replace("$TOKEN", "$DEAD");
    site.store("cms_dead", &dead, "root:condor");
    site.store("scitokens", table::TOP, "root:condor");
    // Takes connections, and says nothing.
    let silent = listen_async("127.83.0.2:8200".parse().unwrap())
        .await
        .unwrap();
    fs::create_dir_all(site.rig.path("/srv/agent")).unwrap();
    let mut daemon = site.start("root", &["-v"], &site.settings());

    let expected = [
        ("cms", "fresh"),
        ("cms_dead", "dead"),
        ("cms_refused", "degraded"),
        ("cms_slow", "renewing"),
        ("scitokens", "ignored"),
    ];
    wait::until("all five states", FAR, async || -> anyhow::Result<()> {
        let states = site.states().await;
        if states
            .get("cms_slow")
            .is_none_or(|state| state != "renewing")
        {
            site.store("cms_slow", SLOW, "root:condor");
        }
        let is = states.iter().map(|(a, b)| (a.as_str(), b.as_str()));
        ensure!(is.eq(expected), "{states:?}");
        Ok(())
    })
    .await
    .unwrap();
    drop(silent);

    an_agent_gets_its_answer(&site).await;
    metrics_are_in_their_file(&site);

    let copy = site.rig.path("/srv/agent/token");
    assert_eq!(fs::read_to_string(&copy).unwrap(), site.used("cms"));
    let meta = copy.metadata().unwrap();
    let owner = site.rig.owner(meta.uid(), meta.gid());
    assert_eq!((meta.mode() & 0o7777, &*owner), (0o400, "cmsprod:cmsprod"));

    it_has_given_up_what_it_does_not_need(&daemon);
    daemon.stop().await.unwrap();
    let (code, said) = site.status(&["--file", STATUS, "--service", "cms"]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("not running"), "{said}");
    site.assert_no_secret(&site.log());
    site.assert_no_secret(&daemon.tail(1000));
}

async fn an_agent_gets_its_answer(site: &Site) {
    let about = ["--file", STATUS, "--user", "cmsprod", "--service"];
    let asks = async |service: &str, more: &[&str]| {
        let options = [&about[..], &[service], more].concat();
        site.status(&options).await.0
    };
    assert_eq!(asks("cms", &["--min-life", "20m"]).await, Some(0));
    assert_eq!(asks("cms", &["--min-life", "5h"]).await, Some(1));
    for service in ["cms_dead", "cms_refused", "cms_slow", "scitokens", "none"] {
        assert_eq!(asks(service, &[]).await, Some(1), "{service}");
    }
    assert_eq!(asks("cms", &["--min-life", "soon"]).await, Some(2));
    let (code, said) = site.status(&["--file", "/nowhere"]).await;
    assert_eq!(code, Some(2), "{said}");

    // Each state says what to do, where there is something to do.
    let (code, table) = site.status(&["--file", STATUS]).await;
    assert_eq!(code, Some(1));
    for part in [
        "cmsprod/cms_dead: dead for ",
        "to do: store the credential again",
        "cmsprod/cms_refused: degraded for ",
        "cmsprod/scitokens: ignored for ",
        "name it in VAULT_CREDMON_PROVIDER_NAMES",
    ] {
        assert!(table.contains(part), "no {part:?} in\n{table}");
    }
    let (_, json) = site.status(&["--file", STATUS, "--json"]).await;
    let file = fs::read_to_string(site.rig.path(STATUS)).unwrap();
    for text in [table, json, file] {
        site.assert_no_secret(&text);
    }
    // The file's place comes from the configuration, too.
    let name = format!("_CONDOR_CREDMON_HTVAULT_STATUS_FILE={STATUS}");
    let configured = ["env", &name, CREDMON, "status", "--service", "cms"];
    let answer = site.rig.run("nobody", &configured).await.unwrap();
    assert_eq!(answer.code, Some(0), "{answer:?}");
}

fn metrics_are_in_their_file(site: &Site) {
    let file = site.rig.path(METRICS);
    let mode = file.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o644);
    let metrics = fs::read_to_string(&file).unwrap();
    for state in ["fresh", "dead", "ignored"] {
        let line = format!("credmon_credentials{{state=\"{state}\"}} 1");
        assert!(metrics.contains(&line), "no {line} in\n{metrics}");
    }
    site.assert_no_secret(&metrics);
}

fn it_has_given_up_what_it_does_not_need(daemon: &Daemon) {
    let of = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", daemon.pid())).unwrap();
    let threads = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let statuses: Vec<String> = threads
        .map(|thread| fs::read_to_string(thread.unwrap().path().join("status")).unwrap())
        .collect();
    assert!(statuses.len() > 1, "renewals have threads of their own");
    for status in statuses {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().trim().to_owned()
        };
        // CAP_CHOWN is bit 0, CAP_DAC_OVERRIDE 1, CAP_FSETID 4.
        assert_eq!(field("CapEff:"), "0000000000000013");
        assert_eq!(field("CapPrm:"), "0000000000000013");
        assert_eq!(field("NoNewPrivs:"), "1");
    }
    let limits = of("limits");
    let cores = limits.lines().find(|line| line.contains("core file size"));
    let limit: Vec<&str> = cores.unwrap().split_whitespace().collect();
    assert_eq!(limit[4..6], ["0", "0"], "{limit:?}");
}

#[tokio::test]
async fn the_log_has_what_is_asked_for() {
    let _one = ONE.lock().await;
    let site = Site::new().await;
    let mut settings = site.settings();
    settings.retain(|(name, _)| name.starts_with("SEC_") || name.ends_with("_LOG"));
    let mut logs = Vec::new();
    for option in [None, Some("-v"), Some("-d")] {
        site.store("cms", table::TOP, "root:condor");
        let _ = fs::remove_file(site.rig.path(LOG));
        let arguments: Vec<&str> = ["--once"].into_iter().chain(option).collect();
        let mut once = site.start("root", &arguments, &settings);
        let status = once.wait(FAR).await.unwrap();
        assert!(status.success(), "{status}: {}", site.log());
        let log = site.log();
        site.assert_no_secret(&log);
        for line in log.lines() {
            let digits = |c: char| if c.is_ascii_digit() { '0' } else { c };
            let form: String = line.chars().take(18).map(digits).collect();
            assert_eq!(form, "00/00/00 00:00:00 ", "{line}");
        }
        logs.push(log);
    }
    let has = |word: &str| -> Vec<bool> { logs.iter().map(|log| log.contains(word)).collect() };
    assert_eq!(has("the access token is in place"), [true; 3]);
    assert_eq!(has("access token renewed, lives"), [false, true, true]);
    assert_eq!(has("asks for 2400 s"), [false, false, true]);
}

#[tokio::test]
async fn it_works_as_condor_too() {
    let _one = ONE.lock().await;
    let site = Site::new().await;
    let directory = site.rig.path(&site.inside);
    site.rig.own(&directory, 0o2770, "condor:condor").unwrap();
    site.store("cms", table::TOP, "condor:condor");
    let mut settings = site.settings();
    settings.retain(|(name, _)| name.starts_with("SEC_"));
    settings.push(("CREDMON_OAUTH_LOG", format!("{}/../views.log", site.inside)));
    settings.push((
        "CREDMON_HTVAULT_STATUS_FILE",
        format!("{}/.status", site.inside),
    ));
    let log = site.rig.path("/var/lib/condor/differential");
    site.rig.own(&log, 0o755, "condor:condor").unwrap();
    let mut daemon = site.start("condor", &[], &settings);
    let log = || fs::read_to_string(directory.join("../views.log")).unwrap_or_default();
    wait::until("an access token", FAR, async || -> anyhow::Result<()> {
        ensure!(!site.used("cms").is_empty(), "none: {}", log());
        Ok(())
    })
    .await
    .unwrap();
    let meta = directory.join("cmsprod/cms.use").metadata().unwrap();
    let owner = site.rig.owner(meta.uid(), meta.gid());
    assert_eq!((meta.mode() & 0o7777, &*owner), (0o400, "condor:condor"));
    assert!(directory.join("pid").exists());
    daemon.signal(Signal::SIGTERM).unwrap();
    assert!(daemon.wait(FAR).await.unwrap().success());
    assert!(
        !log().contains("ERROR") && !log().contains("WARN"),
        "{}",
        log()
    );
}
