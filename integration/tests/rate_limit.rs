//! A Vault that refuses requests for a while (429): what the bastion prints as wait is what happens, whatever a
//! person orders meanwhile. Real KDC, credmon, and the development Vault. Needs the sandbox.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::path::PathBuf;

use bastion::engine::report::Report;
use bastion::model::problem::{Kind, Remedy};
use bastion::policy::plan::State;
use htvault::clock::{Clock as _, SystemClock};
use integration::chain::{ADMIN, Lives};
use integration::conformance::admin::Admin;
use integration::here::Here;
use integration::wait::FAR;
use integration::{ended, wait};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

/// Times differ by this much: reports are a moment old, attempts take a while.
const SLACK: SignedDuration = SignedDuration::from_secs(3);

struct Site {
    here: Here,
    config: PathBuf,
}

impl Site {
    async fn quota(&self, quota: Value) {
        let admin = Admin::new(&format!("http://{ADMIN}"), &self.here.chain.ca.file()).unwrap();
        let body = json!({"quota": quota});
        admin.call(Method::PUT, "/quota", &body).await.unwrap();
    }

    async fn report(&self, command: &str) -> Report {
        self.try_report(command).await.unwrap()
    }

    async fn try_report(&self, command: &str) -> Result<Report, String> {
        let mut bastion = self.here.chain.bastion(&self.config).unwrap();
        bastion.args([command, "--json"]);
        let output = ended::output(bastion, FAR).await.unwrap();
        let report = serde_json::from_slice(&output.stdout);
        report.map_err(|error| format!("{error}: {}", ended::text(&output)))
    }

    async fn all_good(&self) -> Timestamp {
        wait::until("all to be good", FAR, async || {
            let report = self.try_report("status").await?;
            let good = report.is_good().then(|| SystemClock.now());
            good.ok_or(format!("{:?}", report.problems))
        })
        .await
        .unwrap()
    }
}

/// When the next attempt of every delivery is, as printed: they wait for the same, but for the moment in which one has
/// found out that it goes on, and others are about to.
fn next(report: &Report) -> Result<Timestamp, String> {
    let lines = &report.deliveries;
    assert!(
        lines.iter().all(|line| line.state == State::Failed),
        "{report:?}"
    );
    let times: Option<Vec<_>> = lines.iter().map(|line| line.next_at).collect();
    let times = times.ok_or("an attempt runs")?;
    let (first, last) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    if last.duration_since(*first) < SLACK {
        Ok(*last)
    } else {
        Err(format!("{first} {last}"))
    }
}

#[tokio::test]
async fn what_is_printed_as_wait_is_what_happens_whatever_a_person_orders() {
    let here = Here::start(Lives::CALM).await.unwrap();
    let config = here.chain.write_bastion_config(&here.yaml()).unwrap();
    let site = Site { here, config };
    let mut service = site.here.chain.service(&site.config).unwrap();
    site.all_good().await;

    // Somebody else at this address has used up the quota: nothing gets through for an hour.
    site.quota(json!("1/1h/1h")).await;
    let report = site.report("push").await;
    assert_eq!(report.problems.len(), 1, "{:#?}", report.problems);
    let problem = &report.problems[0];
    assert_eq!(
        (problem.kind, problem.remedy),
        (Kind::RateLimited, Remedy::Wait)
    );
    let until = next(&report).unwrap();
    let wait = until.duration_since(report.at);
    println!("{wait} are printed: {}", problem.message);
    assert!(
        wait > SignedDuration::ZERO && wait <= SignedDuration::from_secs(16),
        "{wait}"
    );

    // Orders find out at once whether that is so, and make no wait longer.
    for command in ["push", "retry", "push"] {
        let report = site.report(command).await;
        let now = next(&report).unwrap();
        assert!(
            now.duration_since(until).abs() < SLACK,
            "{command}: {now} instead of {until}"
        );
    }
    // When the wait that is printed is over, one request finds out that the block is not.
    let later = wait::until("the next wait", FAR, async || {
        let report = site.report("status").await;
        let next = Some(next(&report)?).filter(|next| *next > until + SLACK);
        next.ok_or(format!("{:?}", report.problems))
    })
    .await
    .unwrap();
    let wait = later.duration_since(until);
    assert!(wait <= SignedDuration::from_secs(30) + SLACK, "{wait}");

    // The block ends, nobody says so, and all are good as soon as the printed wait is over.
    site.quota(Value::Null).await;
    let good = site.all_good().await;
    let after = good.duration_since(later);
    println!("all good {after} after the printed time");
    assert!(after > -SLACK, "{after}");
    assert!(after < SignedDuration::from_secs(10), "{after}");
    service.stop().await.unwrap();
}
