//! Waiting for something to become true, with a far deadline as a fail-safe.
//!
//! Owns the only sleep of the harness. What always holds: a wait ends as soon as its condition
//! is seen, and one that fails says what it waited for and what it saw last.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::bail;

/// Deadline of what takes seconds, unless it never comes. Far, since a test shares its machine with others.
pub const FAR: Duration = Duration::from_mins(6);

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(25);

/// What one look at a condition gave: the thing waited for, or a word on what is there instead.
pub trait Seen<T> {
    /// The thing waited for, or what was seen instead.
    fn seen(self) -> Result<T, String>;
}

impl<T> Seen<T> for Option<T> {
    fn seen(self) -> Result<T, String> {
        self.ok_or_else(|| "not yet".to_owned())
    }
}

impl<T, E: Display> Seen<T> for Result<T, E> {
    fn seen(self) -> Result<T, String> {
        // The alternate form prints the whole chain of an `anyhow::Error`.
        self.map_err(|error| format!("{error:#}"))
    }
}

/// Looks again and again until `look` gives what is waited for: `Some` or `Ok`.
///
/// `what` completes the sentence "waited 60 s for …". An error of `look` is not final: it is
/// what was seen last, should the deadline pass.
pub async fn until<T, S: Seen<T>>(
    what: &str,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> S,
) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        let missing = match look().await.seen() {
            Ok(value) => return Ok(value),
            Err(missing) => missing,
        };
        if start.elapsed() >= deadline {
            bail!(
                "waited {} s for {what}; last seen: {missing}",
                deadline.as_secs()
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Lets time pass: for a measurement that lasts so long, never for something to happen.
pub async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn gives_the_value_as_soon_as_it_is_there() {
        let mut looks = 0;
        let value = until("a third look", Duration::from_mins(1), async || {
            looks += 1;
            (looks == 3).then_some("there")
        })
        .await
        .unwrap();
        assert_eq!((value, looks), ("there", 3));
    }

    #[tokio::test]
    async fn a_failed_wait_says_what_it_saw_last() {
        let error = until::<(), _>("rain", Duration::ZERO, async || Err("sunshine"))
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "waited 0 s for rain; last seen: sunshine"
        );
    }
}
