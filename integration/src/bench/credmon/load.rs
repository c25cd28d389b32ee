//! A load that no site has, held for some time: 200,000 renewals an hour.
//!
//! Tokens live ten minutes, so that 10,000 credentials make that many. How late a renewal is says
//! the monitor's own plan, asked for now and then, beside the server's log of requests.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use htvault::clock::{Clock as _, SystemClock};
use jiff::Timestamp;

use super::Sizes;
use super::memory::megabytes;
use super::monitored::{Monitored, account};
use super::stage::Stage;
use super::status::Status;
use super::steady::before_first_renewal;
use crate::bench::figures::{Bound, Figure, percentile};
use crate::bench::progress::Progress;
use crate::bench::requests::{self, Request};
use crate::differential::rig::Side;
use crate::wait;

/// How many times the plan is asked for.
const LOOKS: u32 = 20;

pub(super) async fn measure(sizes: &Sizes, progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    let (count, lives) = (sizes.load_credentials, sizes.load_lives);
    let stage = Stage::set(lives, count).await?;
    let mut ours = Monitored::prepare(&stage, "load", Side::Ours, 0..count)?;
    ours.start(lives)?;
    ours.complete().await?;
    wait::pass(before_first_renewal(lives)).await;
    let (from, began) = (SystemClock.now(), Instant::now());
    let (processor, memory) = (ours.processor()?, ours.memory()?);
    let mut looks = Vec::new();
    let step = Duration::from_secs(sizes.load) / LOOKS;
    for look in 1..=LOOKS {
        progress.say(format!(
            "load: {} of {} s",
            (step * look).as_secs(),
            sizes.load
        ));
        looks.push(Status::ask(&ours.status_file()).await?);
        wait::pass((began + step * look).saturating_duration_since(Instant::now())).await;
    }
    let used = ours.processor()?.saturating_sub(processor);
    let memory_after = ours.memory()?;
    let (until, took) = (SystemClock.now(), began.elapsed());
    looks.push(Status::ask(&ours.status_file()).await?);
    ours.finish().await?;
    // What was written before tells of the start, and of requests that are not looked at here.
    looks.retain(|look| look.written >= from);

    let asked = requests::for_access_tokens(&stage.rig.chain.requests(), from)?;
    let errors = asked.iter().filter(|request| request.status != 200).count();
    let not_good: usize = looks.iter().map(Status::not_good).sum();
    let Punctuality { late, missed } = punctuality(&looks, &asked, until, sizes.missed)?;
    let number = |count: usize| u32::try_from(count).map(f64::from);
    let (all, seconds) = (number(asked.len())?, took.as_secs_f64());
    let of_late = |percent| percentile(&late, percent).context("no renewal was due");
    let held = format!("load of {} s with {count} credentials", sizes.load);
    Ok(vec![
        Figure::new(
            "load_rate",
            format!("{held}: renewals an hour"),
            "",
            all * 3600.0 / seconds,
        )
        .bound(Bound::AtLeast(200_000.0)),
        Figure::new("load_errors", "the same: errors", "", number(errors)?)
            .bound(Bound::AtMost(0.0)),
        Figure::new(
            "load_missed",
            format!(
                "the same: renewals missed ({} s late), of {}",
                sizes.missed,
                late.len() + missed
            ),
            "",
            number(missed)?,
        )
        .bound(Bound::AtMost(0.0)),
        Figure::new(
            "load_not_good",
            "the same: credentials that were not fresh at a look at the status",
            "",
            number(not_good)?,
        )
        .bound(Bound::AtMost(0.0)),
        Figure::new(
            "load_late_p50",
            "the same: request after it was due, p50",
            "ms",
            of_late(50)?,
        ),
        Figure::new(
            "load_late_p99",
            "the same: request after it was due, p99",
            "ms",
            of_late(99)?,
        ),
        Figure::new(
            "load_processor",
            "the same: share of one core",
            "%",
            100.0 * used.as_secs_f64() / seconds,
        ),
        Figure::new(
            "load_memory_begin",
            "the same: memory (PSS) at the beginning",
            "MB",
            megabytes(memory.proportional),
        ),
        Figure::new(
            "load_memory_end",
            "the same: memory (PSS) at the end",
            "MB",
            megabytes(memory_after.proportional),
        ),
    ])
}

/// How punctual renewals were.
struct Punctuality {
    /// Milliseconds from the second in which each was due to its request.
    late: Vec<f64>,
    /// Those that did not come.
    missed: usize,
}

fn punctuality(
    looks: &[Status],
    asked: &[Request],
    until: Timestamp,
    missed_after: i64,
) -> anyhow::Result<Punctuality> {
    let mut times: BTreeMap<String, Vec<Timestamp>> = BTreeMap::new();
    for request in asked {
        times
            .entry(account(credential(&request.path)?))
            .or_default()
            .push(request.time);
    }
    let (mut late, mut missed) = (Vec::new(), 0);
    let mut judged = BTreeSet::new();
    for look in looks {
        for (user, due) in look.ahead() {
            if due.as_second() + missed_after > until.as_second() || !judged.insert((user, due)) {
                continue;
            }
            let of_user = times.get(user).map(Vec::as_slice).unwrap_or_default();
            let next = of_user.iter().find(|time| **time >= look.written);
            match next.map(|time| time.as_millisecond() - due.as_millisecond()) {
                Some(milliseconds) if milliseconds <= missed_after * 1000 => {
                    late.push(f64::from(i32::try_from(milliseconds)?));
                }
                _ => missed += 1,
            }
        }
    }
    Ok(Punctuality { late, missed })
}

/// The number of a credential in the path of a request.
fn credential(path: &str) -> anyhow::Result<usize> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let digits: String = name.chars().take_while(char::is_ascii_digit).collect();
    digits
        .parse()
        .with_context(|| format!("{path} is no credential of the benchmark"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_first_request_after_a_look_is_the_one_that_was_due() {
        let status = |written: i64, due: &[(usize, i64)]| -> Status {
            let credentials: Vec<_> = (due.iter())
                .map(|(number, due)| {
                    serde_json::json!({"user": account(*number), "state": "fresh",
                        "next_renewal": at(*due), "access_token": null})
                })
                .collect();
            let json = serde_json::json!({"written": at(written), "credentials": credentials});
            serde_json::from_value(json).unwrap()
        };
        let request = |number: usize, milliseconds: i64| Request {
            time: Timestamp::from_millisecond(milliseconds).unwrap(),
            server: "vault".to_owned(),
            path: format!("/v1/secret/oauth/creds/cms/cmsprod/bench/{number:05}:default"),
            status: 200,
        };
        let looks = [
            status(100, &[(1, 110), (2, 120), (3, 900)]),
            status(105, &[(1, 110), (2, 120)]),
        ];
        let asked = [request(1, 90_000), request(1, 110_040)];
        let punctuality = punctuality(&looks, &asked, at(500), 30).unwrap();
        assert_eq!(punctuality.late, [40.0]);
        assert_eq!(punctuality.missed, 1);
    }
}
