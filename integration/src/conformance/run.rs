//! Runs the cases against a server, one after the other.
//!
//! What always holds: a case that brought the server into a state takes it back before the next
//! one begins; at the end the tokens that were made are revoked.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::cases::{CASES, Case};
use super::compare::{Measure, difference};
use super::recorded::exchange;
use super::stage::{Stage, Unready};

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "verdict", content = "why")]
pub enum Verdict {
    /// Answered as recorded.
    Ok,
    /// Answered otherwise, or not at all.
    Differs(String),
    /// Not tried.
    Skipped(String),
}

/// A case and how it ended.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The recording.
    pub name: &'static str,
    /// How it ended.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// How long the request took.
    pub milliseconds: Option<u64>,
}

/// How all ended.
#[derive(Clone, Debug, Serialize)]
pub struct Outcomes {
    /// The server.
    pub url: String,
    /// Answered as recorded.
    pub ok: usize,
    /// Answered otherwise.
    pub differs: usize,
    /// Not tried.
    pub skipped: usize,
    /// Tokens that were made.
    pub tokens: usize,
    /// Of these, the ones that are dead now.
    pub revoked: usize,
    /// Each case.
    pub cases: Vec<Outcome>,
}

/// Runs all cases; `tell` hears of each when it has ended.
pub async fn run(stage: &mut Stage, mut tell: impl FnMut(&Outcome)) -> Outcomes {
    let mut cases = Vec::new();
    let (mut tokens, mut revoked) = (0, 0);
    for case in CASES {
        let last = CASES.last().is_some_and(|last| last.name == case.name);
        if last {
            // What it does may keep tokens from being revoked.
            (revoked, tokens) = stage.revoke_all().await;
        }
        let outcome = run_one(stage, case).await;
        tell(&outcome);
        cases.push(outcome);
    }
    let (dead, made) = stage.revoke_all().await;
    let count = |wanted: fn(&Verdict) -> bool| -> usize {
        cases.iter().filter(|case| wanted(&case.verdict)).count()
    };
    Outcomes {
        url: stage.server.url().to_owned(),
        ok: count(|verdict| matches!(verdict, Verdict::Ok)),
        differs: count(|verdict| matches!(verdict, Verdict::Differs(_))),
        skipped: count(|verdict| matches!(verdict, Verdict::Skipped(_))),
        tokens: tokens + made,
        revoked: revoked + dead,
        cases,
    }
}

async fn run_one(stage: &mut Stage, case: &Case) -> Outcome {
    let (mut verdict, took) = match try_one(stage, case).await {
        Ok((None, took)) => (Verdict::Ok, Some(took)),
        Ok((Some(words), took)) => (Verdict::Differs(words), Some(took)),
        Err(Unready::Skip(reason)) => (Verdict::Skipped(reason), None),
        Err(Unready::Failed(error)) => (Verdict::Differs(format!("{error:#}")), None),
    };
    if !matches!(verdict, Verdict::Skipped(_))
        && let Err(error) = stage.clear(case).await
    {
        verdict = Verdict::Differs(format!("the state cannot be taken back: {error:#}"));
    }
    Outcome {
        name: case.name,
        verdict,
        milliseconds: took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
    }
}

async fn try_one(stage: &mut Stage, case: &Case) -> Result<(Option<String>, Duration), Unready> {
    let recorded = exchange(case.name)?;
    let slots = stage.set(case, &recorded.request).await?;
    let request = stage.request(&recorded.request, &slots);
    let start = Instant::now();
    let given = stage.server.send(&request).await?;
    let took = start.elapsed();
    stage.note(case, &given);
    let expected = stage
        .names
        .answer(&recorded.answer, &recorded.request, &slots);
    Ok((difference(&expected, &given, Measure::Contract), took))
}
