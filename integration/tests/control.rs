//! A running bastion asked and told by people and programs of its host, on the real parts: status,
//! push, retry, reload, metrics and health, the lock, what systemd hears, and a graceful stop.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Output;

use bastion::api::bodies::Reloaded;
use bastion::engine::report::Report;
use bastion::policy::plan::State;
use integration::chain::Lives;
use integration::here::Here;
use integration::process::Daemon;
use integration::wait::FAR;
use integration::{ended, wait};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const LISTEN: &str = "127.0.0.1:9118";

struct Host {
    here: Here,
    config: PathBuf,
    yaml: String,
    notify: UnixDatagram,
}

impl Host {
    async fn new() -> Self {
        let here = Here::start(Lives::CALM).await.unwrap();
        let yaml = here.yaml().replacen(
            "vault:\n",
            "vault:\n  requests: {limit: 10000, per: 10m}\n",
            1,
        );
        let yaml = format!("listen: {{address: \"{LISTEN}\"}}\n{yaml}");
        let config = here.chain.write_bastion_config(&yaml).unwrap();
        let notify = UnixDatagram::bind(here.folder().join("notify")).unwrap();
        notify.set_nonblocking(true).unwrap();
        Self {
            here,
            config,
            yaml,
            notify,
        }
    }

    fn start(&self) -> Daemon {
        let mut command = self.here.chain.bastion(&self.config).unwrap();
        command
            .arg("run")
            .env("NOTIFY_SOCKET", self.here.folder().join("notify"));
        let log = self.here.folder().join("bastion.log");
        Daemon::spawn("token-bastion", command, &log).unwrap()
    }

    async fn command(&self, arguments: &[&str]) -> Output {
        let mut command = self.here.chain.bastion(&self.config).unwrap();
        command.args(arguments);
        ended::output(command, FAR).await.unwrap()
    }

    /// The exit code, and the report that is printed.
    async fn report(&self, arguments: &[&str]) -> (Option<i32>, Report) {
        let output = self.command(arguments).await;
        let report = serde_json::from_slice(&output.stdout);
        (
            output.status.code(),
            report.unwrap_or_else(|e| panic!("{e}: {output:?}")),
        )
    }

    /// What a user of no group gets to read on standard error.
    async fn stranger(&self) -> String {
        let bastion = self.here.chain.bastion(&self.config).unwrap();
        let output = tokio::process::Command::new("setpriv")
            .args([
                "--reuid",
                "12345",
                "--regid",
                "12345",
                "--clear-groups",
                "--",
            ])
            .arg(bastion.as_std().get_program())
            .args([
                "--socket".as_ref(),
                self.socket().as_os_str(),
                "status".as_ref(),
            ])
            .output()
            .await
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    }

    fn socket(&self) -> PathBuf {
        self.here.folder().join("control")
    }

    /// Waits until systemd was told this line.
    async fn hears(&self, told: &mut Vec<String>, line: &str) {
        let mut heard = Vec::new();
        wait::until(line, FAR, async || {
            heard.extend(self.told());
            if heard.iter().any(|told| told == line) {
                Ok(())
            } else {
                Err(format!("{heard:?}"))
            }
        })
        .await
        .unwrap();
        told.extend(heard);
    }

    /// What systemd was told since the last time.
    fn told(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length) = self.notify.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            lines.extend(text.lines().map(str::to_owned));
        }
        lines
    }
}

async fn get(path: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(LISTEN).await.unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nHost: {LISTEN}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, body.to_owned())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
#[allow(
    clippy::too_many_lines,
    reason = "one service, told one thing after the other"
)]
async fn a_running_bastion_is_asked_and_told_on_its_host() {
    let mut host = Host::new().await;
    let none = host.command(&["status"]).await;
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none.stderr).contains("the service does not run"));
    let plan = host.command(&["plan"]).await;
    assert!(text(&plan.stdout).contains("crabtw"), "{plan:?}");

    let mut bastion = host.start();
    // `readyz` and `status` agree that all becomes good.
    wait::until("every delivery good", FAR, async || {
        let (code, report) = match host.command(&["status", "--json"]).await {
            output if output.status.code() == Some(0) => (200, text(&output.stdout)),
            output => return Err(text(&output.stderr) + &text(&output.stdout)),
        };
        serde_json::from_str::<Report>(&report)
            .map(|_| code)
            .map_err(|e| e.to_string())
    })
    .await
    .unwrap();
    let mut told = Vec::new();
    host.hears(&mut told, "STATUS=3 of 3 deliveries good").await;
    let found = fs::metadata(host.socket()).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o7777, 0o660);

    // Who may not is told so: by the socket's mode, and by the service when that was changed.
    let refused = host.stranger().await;
    assert!(refused.contains("this user may not use"), "{refused}");
    fs::set_permissions(host.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    let refused = host.stranger().await;
    assert!(
        refused.contains("user 12345 may not use the control socket"),
        "{refused}"
    );
    fs::set_permissions(host.socket(), fs::Permissions::from_mode(0o660)).unwrap();

    // A push makes a new vault token, for what is named and nothing else.
    let (_, before) = host.report(&["status", "--json"]).await;
    let (code, pushed) = host
        .report(&["push", "--account", "crabtw", "--json"])
        .await;
    assert_eq!((code, pushed.deliveries.len()), (Some(0), 1));
    let (_, after) = host.report(&["status", "--json"]).await;
    for (old, new) in before.deliveries.iter().zip(&after.deliveries) {
        let is_new = old.accessor != new.accessor;
        assert_eq!(is_new, new.wanted.account == "crabtw", "{new:?}");
    }
    assert_eq!(pushed.deliveries[0].accessor, after.deliveries[2].accessor);
    let wrong = host.command(&["push", "--account", "crabtv"]).await;
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("did you mean \"crabtw\"?"));
    let (code, _) = host.report(&["status", "--min-life", "1m", "--json"]).await;
    assert_eq!(code, Some(0));
    let (code, _) = host.report(&["status", "--min-life", "2h", "--json"]).await;
    assert_eq!(code, Some(1));

    // A second instance is kept out, and told by whom.
    for command in ["run", "once"] {
        let second = host.command(&[command]).await;
        assert_eq!(second.status.code(), Some(1), "{second:?}");
        let who = format!("process {} ", bastion.pid());
        assert!(text(&second.stderr).contains(&who), "{second:?}");
    }

    // What a reload cannot put into force is said to wait.
    let elsewhere = host.yaml.replace(LISTEN, "127.0.0.1:9119");
    host.here.chain.write_bastion_config(&elsewhere).unwrap();
    let reload = host.command(&["reload", "--dry-run"]).await;
    let waits = format!("{LISTEN} → 127.0.0.1:9119 (from the next start on)");
    assert!(text(&reload.stdout).contains(&waits), "{reload:?}");

    // A reload says what changes; with a fault nothing does.
    let smaller = host.yaml.replace("      cms_production: {}\n", "");
    assert_ne!(smaller, host.yaml);
    host.here
        .chain
        .write_bastion_config(&host.yaml.replace("keytab", "keytap"))
        .unwrap();
    let reload = host.command(&["reload"]).await;
    assert_eq!(reload.status.code(), Some(2));
    assert!(text(&reload.stderr).contains("did you mean \"keytab\"?"));
    assert_eq!(
        host.report(&["status", "--json"]).await.1.deliveries.len(),
        3
    );
    host.here.chain.write_bastion_config(&smaller).unwrap();
    let reload = host.command(&["reload", "--json"]).await;
    let _: Reloaded = serde_json::from_slice(&reload.stdout).unwrap();
    assert_eq!(reload.status.code(), Some(0));
    // What was answered is in force, and Vault, which stays, has had its requests.
    let (_, reloaded) = host.report(&["status", "--json"]).await;
    assert_eq!(reloaded.deliveries.len(), 2);
    assert!(reloaded.requests.unwrap().used >= after.requests.unwrap().used);
    host.hears(&mut told, "STATUS=2 of 2 deliveries good").await;

    // Programs see the same by HTTP.
    assert_eq!(get("/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(get("/readyz").await.0, 200);
    let (code, json) = get("/status.json").await;
    let report: Report = serde_json::from_str(&json).unwrap();
    assert_eq!((code, report.is_good()), (200, true));
    let (_, metrics) = get("/metrics").await;
    assert!(
        metrics.contains("token_bastion_deliveries{state=\"good\"} 2"),
        "{metrics}"
    );
    for stage in ["login", "issue"] {
        let count = format!("token_bastion_stage_seconds_count{{stage=\"{stage}\"}} 4");
        assert!(metrics.contains(&count), "{metrics}");
    }
    assert!(
        metrics.contains("token_bastion_vault_requests_limit 10000\n"),
        "{metrics}"
    );

    // Vault stops: whoever asks hears that something is not good, and a retry finds out its end.
    host.here.chain.vault.stop().await.unwrap();
    let (code, report) = host.report(&["push", "--json"]).await;
    assert_eq!(code, Some(1));
    assert!(
        report
            .deliveries
            .iter()
            .all(|line| line.state == State::Failed)
    );
    let (code, text_) = get("/readyz").await;
    assert_eq!(code, 503);
    assert!(
        text_.starts_with("2 of 2 deliveries are not good\n"),
        "{text_}"
    );
    let status = host.command(&["status"]).await;
    assert_eq!(status.status.code(), Some(1));
    assert!(text(&status.stdout).contains("wait: Vault https://vault.test:8200 (2 deliveries)"));
    let jobs = host.command(&["status", "--min-life", "1m"]).await;
    assert_eq!(jobs.status.code(), Some(0), "{jobs:?}");
    host.here.chain.restart_vault().await.unwrap();
    let (code, report) = host.report(&["retry", "--json"]).await;
    assert_eq!(code, Some(0), "{report:?}");

    // systemd heard all of it.
    assert_eq!(bastion.stop().await.unwrap().code(), Some(0));
    assert!(!host.socket().exists());
    told.extend(host.told());
    for line in [
        "READY=1",
        "WATCHDOG=1",
        "RELOADING=1",
        "STATUS=3 of 3 deliveries good",
        "STATUS=2 of 2 deliveries good",
        "STOPPING=1",
    ] {
        assert!(told.iter().any(|told| told == line), "{line} {told:?}");
    }
    assert!(told.iter().any(|told| told.starts_with("MONOTONIC_USEC=")));
    let again = host.command(&["status"]).await;
    assert!(text(&again.stderr).contains("the service does not run"));
}
