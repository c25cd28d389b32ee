//! The bastion as its users use it: a production agent and a CRAB task worker (`integration/agents`,
//! Python with HTCondor's own bindings) ask for the credential, submit and follow jobs that read
//! their tokens, on a real pool, while bastion and schedd are restarted. And what they do when a
//! credential is not there, is lost, or has ended.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, ensure};
use integration::process::Mark;
use integration::wait;
use serde::Deserialize;

use integration::wait::FAR;
use stage::{JOB, Stage};

/// How many tokens each job sees at least.
const TOKENS: usize = 5;
/// The jobs that meet restarts end when this file is there.
const ENOUGH: &str = "/tmp/enough";

/// What a job says of a token.
#[derive(Debug, Deserialize)]
struct Token {
    service: String,
    jti: String,
    sub: String,
    aud: String,
    scope: String,
    exp: i64,
}

#[tokio::test]
async fn agents_keep_their_jobs_supplied_whatever_restarts() -> anyhow::Result<()> {
    let mut stage = Stage::set().await?;
    let told = async {
        before_the_delivery_nothing_is_submitted(&stage).await?;
        stage.start_bastion()?;
        jobs_survive_restarts(&mut stage).await?;
        stage.lose_the_grant_of("crabtw").await?;
        held_jobs_go_on_when_the_credential_is_back(&mut stage).await?;
        a_token_that_has_ended_is_told(&stage).await
    };
    told.await.with_context(|| stage.logs())?;
    stage.end().await
}

async fn before_the_delivery_nothing_is_submitted(stage: &Stage) -> anyhow::Result<()> {
    for (user, words) in [
        ("cmsprod", format!("production_agent.py {JOB} 1 cms")),
        (
            "crabtw",
            format!("crab_task_worker.py early {JOB} 1 cms_crab"),
        ),
    ] {
        let answer = stage.run(user, &words).await?;
        ensure!(answer.code == Some(3), "{answer:?}");
        let why = format!("NOT GOOD: nothing is stored for \"{user}@ap.test\"");
        ensure!(answer.stdout.contains(&why), "{answer:?}");
        ensure!(answer.stderr.is_empty(), "{answer:?}");
    }
    let queue = ["condor_q", "-allusers", "-af", "ClusterId"];
    ensure!(stage.pool.run("root", &queue).await?.success()?.is_empty());
    Ok(())
}

async fn jobs_survive_restarts(stage: &mut Stage) -> anyhow::Result<()> {
    for (user, service) in [
        ("cmsprod", "cms"),
        ("cmsprod", "cms_production"),
        ("crabtw", "cms_crab"),
    ] {
        stage.wait_good(user, service).await?;
    }
    a_token_that_lives_too_short_is_told(stage).await?;
    let mut production = stage.start_production(2, &format!("--until {ENOUGH} {TOKENS}"))?;
    let task = "crab_task_worker.py --poll 1 --min-life 5s task";
    let mut crab = stage.start(
        "crabtw",
        "task",
        &format!("{task} {JOB} --until {ENOUGH} {TOKENS} cms_crab"),
    )?;

    let said = || format!("{}\n{}", production.tail(9), crab.tail(9));
    stage.wait_tokens(2).await.with_context(said)?;
    stage.stop_bastion().await?;
    stage.start_bastion()?;
    stage.wait_tokens(3).await?;
    stage.kill_bastion().await?;
    stage.pool.restart("schedd").await?;
    stage.start_bastion()?;
    stage.wait_tokens(TOKENS).await?;
    fs::write(stage.pool.path(ENOUGH), "")?;

    for agent in [&mut production, &mut crab] {
        let status = agent.wait(FAR).await?;
        ensure!(status.code() == Some(0), "{}", agent.tail(30));
        for line in agent.lines_after(Mark::default()).0 {
            ensure!(!line.contains("held"), "{}", agent.tail(30));
        }
    }
    // It followed the job over the schedd's restart.
    crab.wait_for_line("connected again", FAR).await?;

    let outputs = stage.outputs_of(&["cmsprod", "crabtw"])?;
    ensure!(outputs.len() == 3, "{outputs:?}");
    for output in &outputs {
        check_tokens(output)?;
    }
    // One run each: the second shadow took the running job over from the first.
    let history = [
        "condor_history",
        "-af",
        "NumShadowStarts",
        "NumJobReconnects",
        "NumSystemHolds",
        "ExitCode",
    ];
    let history = stage.pool.run("root", &history).await?.success()?;
    ensure!(history == "2 1 0 0\n".repeat(3), "{history}");
    Ok(())
}

async fn a_token_that_lives_too_short_is_told(stage: &Stage) -> anyhow::Result<()> {
    let words = format!("crab_task_worker.py short {JOB} 1 cms_crab");
    let answer = stage.run("crabtw", &words).await?;
    ensure!(answer.code == Some(3), "{answer:?}");
    ensure!(
        answer.stdout.contains("s left, less than 20m"),
        "{answer:?}"
    );
    Ok(())
}

/// Each token that a job saw is another one, that lives longer, of the right account.
fn check_tokens(output: &str) -> anyhow::Result<()> {
    ensure!(!output.contains("eyJ"), "a token was printed");
    for (service, tokens) in tokens(output) {
        ensure!(tokens.len() >= TOKENS, "{service}: {output}");
        let ids: BTreeSet<&str> = tokens.iter().map(|token| token.jti.as_str()).collect();
        ensure!(ids.len() == tokens.len(), "{service}: {output}");
        ensure!(
            tokens.is_sorted_by(|a, b| a.exp <= b.exp),
            "{service}: {output}"
        );
        let user = if service == "cms_crab" {
            "crabtw"
        } else {
            "cmsprod"
        };
        for token in tokens {
            ensure!(token.sub == user, "{token:?}");
            ensure!(token.aud == "https://wlcg.cern.ch/jwt/v1/any", "{token:?}");
            ensure!(token.scope.contains("storage.read:/"), "{token:?}");
        }
    }
    Ok(())
}

async fn held_jobs_go_on_when_the_credential_is_back(stage: &mut Stage) -> anyhow::Result<()> {
    let mut agent = stage.start_production(1, "3")?;
    let mut mark = Mark::default();
    for what_then in ["released", "submitted anew"] {
        agent.wait_for_line_after(mark, ": running", FAR).await?;
        mark = agent.mark();
        stage.stop_bastion().await?;
        let delete = ["condor_store_cred", "delete-oauth", "-s", "cms"];
        stage.pool.run("cmsprod", &delete).await?.success()?;
        for said in [
            "held, code 4",
            "credential cms: NOT GOOD: nothing is stored",
        ] {
            agent.wait_for_line_after(mark, said, FAR).await?;
        }
        stage.start_bastion()?;
        agent.wait_for_line_after(mark, what_then, FAR).await?;
    }
    let status = agent.wait(FAR).await?;
    ensure!(status.code() == Some(0), "{}", agent.tail(30));
    Ok(())
}

async fn a_token_that_has_ended_is_told(stage: &Stage) -> anyhow::Result<()> {
    wait::until("the token to end", FAR, async || {
        let status = stage.status("crabtw", "cms_crab", "0s").await?;
        ensure!(status.code == Some(1), "{}", status.stdout);
        Ok(())
    })
    .await?;
    let words = format!("crab_task_worker.py --min-life 0s late {JOB} 1 cms_crab");
    let answer = stage.run("crabtw", &words).await?;
    ensure!(answer.code == Some(3), "{answer:?}");
    ensure!(
        answer.stdout.contains("the access token has ended"),
        "{answer:?}"
    );
    // Why it does not ask as today's task worker does.
    let query = ["condor_store_cred", "query-oauth"];
    let query = stage.pool.run("crabtw", &query).await?.success()?;
    ensure!(
        query.contains("A credential was stored and is valid."),
        "{query}"
    );
    Ok(())
}

/// The tokens in a job's output, by service.
fn tokens(output: &str) -> BTreeMap<String, Vec<Token>> {
    let mut found: BTreeMap<String, Vec<Token>> = BTreeMap::new();
    // The last line may still be in the making.
    for token in output
        .lines()
        .filter_map(|line| serde_json::from_str::<Token>(line).ok())
    {
        found.entry(token.service.clone()).or_default().push(token);
    }
    found
}
