//! A load that no site has, held for an hour: whether memory and descriptors stay flat, and nothing is late.
//!
//! The programs are the real ones, the lives of their tokens are compressed. What always holds: whether something is
//! late is judged from outside, by the files that jobs and schedds read; what a program says of itself only adds to it.

mod bastion;
pub mod command;
mod credmon;
mod samples;
mod tokens;

use std::time::{Duration, Instant};

use nix::unistd::Pid;

use crate::bench::progress::Progress;
use crate::wait;
use samples::{Sample, Usage};
use tokens::Tokens;

/// Time between two samples.
const STEP: Duration = Duration::from_secs(1);

/// Takes samples of a process and of the tokens for so long. `not_good` is asked in each step how much is not good by the
/// program's own status.
async fn sample(
    pid: Pid,
    tokens: &mut [Tokens],
    lasts: Duration,
    progress: &Progress,
    mut not_good: impl AsyncFnMut(u32) -> anyhow::Result<usize>,
) -> anyhow::Result<Vec<Sample>> {
    let began = Instant::now();
    let mut samples = Vec::new();
    let mut step = 0;
    while began.elapsed() < lasts {
        let Usage {
            resident,
            descriptors,
            threads,
        } = Usage::of(pid)?;
        let not_good = not_good(step).await?;
        let (mut late, mut missing, mut spare) = (0, 0, Vec::new());
        for tokens in &mut *tokens {
            let found = tokens.look();
            late += found.late;
            missing += found.missing;
            spare.push(found.least_spare);
        }
        let second = began.elapsed().as_secs();
        samples.push(Sample {
            second,
            resident,
            descriptors,
            threads,
            late,
            missing,
            not_good,
            spare,
        });
        progress.say(format!(
            "load: {second} of {} s, late: {late}",
            lasts.as_secs()
        ));
        step += 1;
        wait::pass((began + STEP * step).saturating_duration_since(Instant::now())).await;
    }
    Ok(samples)
}
