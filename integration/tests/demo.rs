//! The demonstration as a person runs it, on this host and on the real HTCondor pool: the whole
//! chain from a keytab to a running job.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use integration::chain::program;
use integration::wait::FAR;
use integration::{ended, sandbox};
use tokio::process::Command;

/// One demonstration at a time: they share the sandbox's addresses.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Runs the demonstration into a pipe; gives its lines.
async fn demonstration(options: &[&str]) -> Vec<String> {
    let _one = ONE.lock().await;
    sandbox::require().unwrap();
    let folder = tempfile::tempdir_in(sandbox::run_folder().unwrap()).unwrap();
    let mut command = Command::new(program("demo").unwrap());
    command
        .args(options)
        .env("TOKEN_BASTION_RUN", folder.path());
    let output = ended::output(command, FAR).await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}{errors}");
    assert!(
        !said.contains('\x1b'),
        "no colours and no bars in a pipe: {said}"
    );
    assert_eq!(errors, "", "nothing else is said");
    said.lines().map(str::to_owned).collect()
}

/// The lines of one speaker for one delivery.
fn said_by<'a>(lines: &'a [String], speaker: &str, service: &str) -> Vec<&'a str> {
    lines
        .iter()
        .filter(|line| {
            let mut words = line.split_whitespace().skip(2);
            words.next() == Some(speaker) && words.nth(1) == Some(service)
        })
        .map(String::as_str)
        .collect()
}

fn assert_renewed_twice(lines: &[String]) {
    for service in ["cms", "cms_production", "cms_crab"] {
        let told = lines.join("\n");
        assert!(!said_by(lines, "bastion", service).is_empty(), "{told}");
        assert!(said_by(lines, "credmon", service).len() >= 3, "{told}");
        let [seen] = said_by(lines, "seen", service)[..] else {
            panic!("not seen once: {told}");
        };
        assert!(seen.ends_with("0 gaps"), "{told}");
    }
}

#[tokio::test]
async fn the_demonstration_ends_after_two_renewals() {
    let lines = demonstration(&["--once"]).await;
    assert_renewed_twice(&lines);
    assert!(said_by(&lines, "job", "cms_crab").is_empty());
}

#[tokio::test]
async fn on_the_real_pool_a_job_sees_its_token_renewed() {
    let lines = demonstration(&["--once", "--condor"]).await;
    assert_renewed_twice(&lines);
    let [first, second, end] = said_by(&lines, "job", "cms_crab")[..] else {
        panic!("not what the job should say:\n{}", lines.join("\n"));
    };
    let jti = |line: &str| {
        let (_, rest) = line.split_once("jti ").unwrap();
        rest.split(',').next().unwrap().to_owned()
    };
    assert!(first.contains("first token: sub crabtw"), "{first}");
    assert!(second.contains("second token: sub crabtw"), "{second}");
    assert!(first.contains("storage.create:/store/temp/user"), "{first}");
    assert_ne!(jti(first), jti(second));
    assert!(end.ends_with("ended well"), "{end}");
}
