//! Secrets of the whole chain, and where they are: keys, tickets, logins, vault tokens, access tokens, refresh tokens
//! are taken from the wire and from the keytabs, then searched for in everything that the machine holds.
//!
//! Everything logs as much as it can, servers answer in odd shapes and quote what they were sent, and at the end both
//! programs are killed as by a fault of their own. Secrets may be in the files that the contract names and nowhere else.
//! Needs the sandbox.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod contract;
mod known;
mod search;
mod stage;

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use integration::hostile::Handling;
use integration::process::Daemon;
use integration::wait;
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

use contract::{
    each_place_of_the_contract_was_seen, everything, nothing_is_elsewhere, planted_leaks_are_found,
};
use known::Kind;
use search::Sampler;
use stage::{FAR, HOME, Stage, USER};

/// Ends the job that has a token.
const ENOUGH: &str = "/tmp/enough";

/// One at a time: they share the sandbox's addresses.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

// The front goes on while this searches.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_where_the_contract_names_them_and_nowhere_else() -> anyhow::Result<()> {
    searched("cedar").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_htcondors_tools_one_more_secret_is_in_their_environment_and_nowhere_else()
-> anyhow::Result<()> {
    searched("condor").await
}

async fn searched(transport: &str) -> anyhow::Result<()> {
    let _one = ONE.lock().await;
    let cores = ["--pid", &std::process::id().to_string(), "--core=unlimited"].map(str::to_owned);
    ensure!(
        tokio::process::Command::new("prlimit")
            .args(cores)
            .status()
            .await?
            .success()
    );
    let sampler = Sampler::start();
    let mut stage = Stage::set(transport).await?;

    let told = async {
        life(&stage).await?;
        let job = job_with_a_token(&stage).await?;
        others_cannot_look_inside(&stage).await?;
        memory(&stage)?;
        commands(&stage).await?;
        odd_answers(&stage).await?;
        login_of_a_person(&stage).await?;
        // While all runs and the job has its token.
        let mut found = everything(&stage, &BTreeSet::new())?;
        nothing_is_elsewhere(&found)?;
        fs::write(stage.pool.path(ENOUGH), "")?;
        ensure!(stage.pool.wait_job(&job, FAR).await? == 0);
        faults(&mut stage).await?;
        found.extend(everything(&stage, &sampler.stop())?);
        nothing_is_elsewhere(&found)?;
        anyhow::Ok(found)
    };
    let found = told.await.with_context(|| stage.bastion.tail(10))?;
    each_place_of_the_contract_was_seen(&found, transport)?;
    planted_leaks_are_found(&stage)
}

/// All deliveries are good, and both kinds of tokens were replaced several times.
async fn life(stage: &Stage) -> anyhow::Result<()> {
    stage.all_good().await?;
    wait::until("several tokens of each delivery", FAR, async || {
        let (vault, access) = (
            stage.known.count(Kind::VaultToken),
            stage.known.count(Kind::AccessToken),
        );
        ensure!(
            vault >= 9 && access >= 30,
            "{vault} vault tokens, {access} access tokens"
        );
        Ok(())
    })
    .await
}

async fn job_with_a_token(stage: &Stage) -> anyhow::Result<integration::pool::Job> {
    let script = format!(
        r#"env; wc -c ""$_CONDOR_CREDS""/cms_crab.use; until test -e {ENOUGH}; do sleep 0.2; done"#
    );
    let text = format!(
        "executable = /bin/sh\narguments = \"-c '{script}'\"\nuse_oauth_services = cms_crab\nstream_output = true\n"
    );
    let job = stage.pool.submit("crabtw", &text).await?;
    let what = "to read its token";
    wait::until(what, FAR, async || {
        let output = stage.pool.job_output(&job)?;
        ensure!(output.contains("cms_crab.use"), "{output}");
        Ok(())
    })
    .await?;
    Ok(job)
}

/// Another process of the service's user can read neither its memory nor its environment.
async fn others_cannot_look_inside(stage: &Stage) -> anyhow::Result<()> {
    let mut sleep = stage.pool.command(USER, "/bin/sleep");
    sleep.arg("1000").stdin(Stdio::null());
    let control = Daemon::spawn("sleep", sleep, &stage.folder().join("sleep.log"))?;
    for what in ["environ", "mem", "maps", "auxv"] {
        let read = |pid| format!("head -c 1 /proc/{pid}/{what} 2>&1");
        let own = stage
            .pool
            .run(USER, &["sh", "-c", &read(stage.bastion.pid())])
            .await?;
        ensure!(
            own.code != Some(0) && own.stdout.contains("Permission denied"),
            "{what}: {own:?}"
        );
        // Memory has nothing at its beginning: that is another refusal.
        let other = stage
            .pool
            .run(USER, &["sh", "-c", &read(control.pid())])
            .await?;
        ensure!(
            !other.stdout.contains("Permission denied"),
            "{what}: {other:?}"
        );
    }
    Ok(())
}

/// How many secrets the memory of both programs has, of all that there were: what is not needed any more is zeroed when
/// it is freed, and what is left opens credds or is in buffers of open connections: of 30 access tokens 6 in the bastion
/// (11 without the zeroing) and 3 in the credmon (16).
fn memory(stage: &Stage) -> anyhow::Result<()> {
    let finder = stage.known.finder();
    for (name, pid) in [
        ("bastion", stage.bastion.pid()),
        ("credmon", stage.pool.credmon_pid()?),
    ] {
        for (kind, secrets) in finder.different(&search::memory(pid)?) {
            let (there, all) = (secrets.len(), stage.known.count(kind));
            println!("memory of the {name}: {there} of {all} {kind:?}");
            let is_short_lived = kind == Kind::AccessToken || name == "credmon";
            ensure!(
                !is_short_lived || there * 3 < all,
                "{there} of {all} {kind:?}"
            );
        }
    }
    Ok(())
}

/// Each command that prints something of deliveries, and each answer of the service.
async fn commands(stage: &Stage) -> anyhow::Result<()> {
    for path in ["/metrics", "/healthz", "/readyz", "/status.json"] {
        stage.get(path).await?;
    }
    let selected = ["--account", "cmsprod", "--service", "cms"];
    for command in [
        "status", "plan", "check", "doctor", "push", "retry", "reload", "once",
    ] {
        stage.run(&[command]).await?;
        stage.run(&[command, "--json"]).await?;
    }
    stage.run(&[&["push"][..], &selected].concat()).await?;
    stage
        .run(&[&["revoke", "--schedd", "ap.test", "--json"][..], &selected].concat())
        .await?;
    let again = ["push", "--schedd", "ap.test"];
    stage.run(&[&again[..], &selected].concat()).await?;
    for json in [false, true] {
        stage
            .run_as("cmsprod", &stage::credmon_status(json))
            .await?;
    }
    for query in [
        &["condor_store_cred", "query-oauth"][..],
        &["condor_config_val", "-dump"],
    ] {
        stage.run_as("cmsprod", query).await?;
    }
    stage.all_good().await
}

/// The Vault gives secrets where none belongs, and quotes what it was sent.
async fn odd_answers(stage: &Stage) -> anyhow::Result<()> {
    let odd: [fn(&mut Value); 4] = [
        |answer| move_up(answer, "auth", "client_token"),
        |answer| move_up(answer, "data", "access_token"),
        |answer| copy_to(answer, "/auth/client_token", "/auth/lease_duration"),
        |answer| copy_to(answer, "/data/access_token", "/data/expire_time"),
    ];
    let handlings = odd.into_iter().map(Handling::Edit);
    for handling in handlings.chain([400, 403, 404, 429, 500].map(Handling::Quote)) {
        stage.front.rule(move |_| handling.clone());
        for command in ["push", "status", "doctor"] {
            stage.run(&[command, "--account", "crabtw"]).await?;
        }
        stage.run_as("crabtw", &stage::credmon_status(true)).await?;
    }
    stage.front.rule(|_| Handling::Pass);
    stage.run(&["retry"]).await?;
    stage.all_good().await
}

/// Replaces an object by one of its own fields.
fn move_up(answer: &mut Value, object: &str, field: &str) {
    if let Some(secret) = answer
        .get(object)
        .and_then(|object| object.get(field))
        .cloned()
    {
        answer[object] = secret;
    }
}

fn copy_to(answer: &mut Value, from: &str, to: &str) {
    let Some(secret) = answer.pointer(from).cloned() else {
        return;
    };
    let (object, field) = to.rsplit_once('/').unwrap();
    answer.pointer_mut(object).unwrap()[field] = secret;
}

/// A refresh token goes through the bastion.
async fn login_of_a_person(stage: &Stage) -> anyhow::Result<()> {
    let admin = integration::conformance::admin::Admin::new(
        &format!("http://{}", integration::chain::ADMIN),
        &stage.chain.ca.file(),
    )?;
    admin
        .call(
            reqwest::Method::POST,
            "/kill",
            &json!({"credkey": "crabtw"}),
        )
        .await?;
    stage.run(&["push", "--account", "crabtw"]).await?;
    stage.onboard("crabtw").await?;
    for kind in [Kind::Ticket, Kind::Login, Kind::RefreshToken, Kind::Flow] {
        ensure!(stage.known.count(kind) > 0, "{kind:?} was not seen");
    }
    stage.all_good().await
}

/// Both programs are killed as by a fault of their own, with no limit on the size of cores. (SIGSEGV is no fault when
/// somebody sends it: Rust's own handler looks for the place and goes on.)
async fn faults(stage: &mut Stage) -> anyhow::Result<()> {
    let mut control = stage.pool.command(USER, "/bin/sleep");
    control.arg("1000").stdin(Stdio::null());
    let mut control = Daemon::spawn("sleep", control, &stage.folder().join("control.log"))?;
    let process = format!("/proc/{}/comm", control.pid());
    wait::until("it to be the program", FAR, async || {
        let name = fs::read_to_string(&process)?;
        ensure!(name.trim() == "sleep", "it is {name}");
        Ok(())
    })
    .await?;
    control.signal(Signal::SIGABRT)?;
    control.wait(FAR).await?;
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern")?;
    // Elsewhere than in a plain file of the process's folder nothing can be looked for.
    if !pattern.starts_with(['|', '/']) {
        ensure!(
            cores(stage)? == 1,
            "this system writes no cores at all, so the test shows nothing"
        );
    }
    let credmon = stage.pool.credmon_pid()?;
    for pid in [credmon, stage.bastion.pid()] {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
        let core = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"))
            .context("no limit")?;
        ensure!(
            core.split_whitespace().filter(|word| *word == "0").count() == 2,
            "{core}"
        );
        kill(pid, Signal::SIGABRT)?;
    }
    let status = stage.bastion.wait(FAR).await?;
    ensure!(
        std::os::unix::process::ExitStatusExt::signal(&status) == Some(6),
        "{status}"
    );
    wait::until("another credmon", FAR, async || {
        let now = stage.pool.credmon_pid()?;
        ensure!(now != credmon, "it is still the same");
        Ok(())
    })
    .await?;
    if !pattern.starts_with(['|', '/']) {
        ensure!(cores(stage)? == 1, "there is a core of one of our programs");
    }
    Ok(())
}

fn cores(stage: &Stage) -> anyhow::Result<usize> {
    let mut count = 0;
    for folder in [HOME, "/var/log/condor", "/"] {
        for entry in fs::read_dir(stage.pool.path(folder))? {
            count += usize::from(entry?.file_name().to_string_lossy().starts_with("core"));
        }
    }
    Ok(count)
}
