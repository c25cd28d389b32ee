//! Wait for the login of a person, with a deadline and at the polling rate that the server wants.
//!
//! Always true: a poll is never cut short, for its answer may have the login that Vault has just made.

use std::time::Duration;

use htvault::{Action, Error, OidcLogin, Poll};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::model::duration;

/// Pauses between two polls stay below this, however often the server asks to slow down.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Waits until a person has logged in, at most `limit`, or until `stop` is cancelled. `poll` asks the server, and returns the pause that the server
/// wants before the next time; the first one is `pause`. Calls `show` with errors that do not end the wait: a Vault may
/// be unavailable for a while.
///
/// # Errors
/// Nobody logged in, or the login cannot succeed any more.
pub(super) async fn wait(
    mut poll: impl AsyncFnMut() -> (Result<Poll, Error>, Duration),
    mut pause: Duration,
    limit: Duration,
    stop: &CancellationToken,
    mut show: impl FnMut(&Error),
) -> Result<Box<OidcLogin>, String> {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!(
                "nobody logged in within {}, so nothing was stored; run this again for a new link",
                duration::format(limit)
            ));
        }
        let slept = tokio::time::sleep(pause.min(LONGEST_PAUSE).min(left));
        if stop.run_until_cancelled(slept).await.is_none() {
            return Err("stopped, so nothing was stored".to_owned());
        }
        let (answer, next) = poll().await;
        pause = next;
        match answer {
            Ok(Poll::Done(login)) => return Ok(login),
            Ok(Poll::Pending | Poll::SlowDown) => {}
            Err(error) if matches!(error.action(), Action::Retry | Action::SlowDown) => {
                show(&error);
            }
            Err(error) => {
                return Err(format!(
                    "the login did not succeed, so nothing was stored; run this again for a new link: {error}"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use htvault::{IssuedToken, RefreshToken, ServerUrl, VaultToken};

    /// A person who logs in at the third poll, and a server that asks to slow down once.
    struct Person {
        interval: Duration,
        asked: Vec<Duration>,
        begin: Instant,
        answers: Vec<Option<&'static str>>,
    }

    impl Person {
        fn new(answers: &[Option<&'static str>]) -> Self {
            Self {
                interval: Duration::from_secs(3),
                asked: Vec::new(),
                begin: Instant::now(),
                answers: answers.iter().rev().copied().collect(),
            }
        }

        fn poll(&mut self) -> Result<Poll, Error> {
            self.asked.push(self.begin.elapsed());
            match self.answers.pop() {
                Some(Some("slow_down")) => {
                    self.interval *= 2;
                    Ok(Poll::SlowDown)
                }
                Some(Some("refused")) => Err("no address".parse::<ServerUrl>().unwrap_err()),
                Some(Some("done")) => Ok(Poll::Done(Box::new(OidcLogin {
                    login: IssuedToken {
                        token: VaultToken::from("s.x".to_owned()),
                        accessor: String::new(),
                        lease_seconds: 1,
                        policies: Vec::new(),
                        user: None,
                        warnings: Vec::new(),
                    },
                    credkey: "cmsprod".to_owned(),
                    refresh_token: RefreshToken::from("r".to_owned()),
                }))),
                _ => Ok(Poll::Pending),
            }
        }

        async fn wait(&mut self, limit: Duration) -> Result<Box<OidcLogin>, String> {
            let pause = self.interval;
            let stop = CancellationToken::new();
            let poll = async || (self.poll(), self.interval);
            wait(poll, pause, limit, &stop, |_| {}).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_person_who_stops_the_wait_does_not_lose_a_login_that_is_being_made() {
        let (second, limit) = (Duration::from_secs(1), Duration::from_mins(10));
        for (stopped_after, is_made) in [(second / 2, false), (second * 3 / 2, true)] {
            let mut person = Person::new(&[Some("done")]);
            let stop = CancellationToken::new();
            let poll = async || {
                tokio::time::sleep(second).await;
                (person.poll(), second)
            };
            let stopped = async {
                tokio::time::sleep(stopped_after).await;
                stop.cancel();
            };
            let (login, ()) = tokio::join!(wait(poll, second, limit, &stop, |_| {}), stopped);
            assert_eq!(login.is_ok(), is_made);
            assert_eq!(person.asked.len(), usize::from(is_made));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn polls_keep_to_the_interval_and_slow_down_when_asked() {
        let mut person = Person::new(&[None, Some("slow_down"), None, Some("done")]);
        let login = person.wait(Duration::from_mins(10)).await;
        assert_eq!(login.unwrap().credkey, "cmsprod");
        let seconds: Vec<u64> = person.asked.iter().map(Duration::as_secs).collect();
        assert_eq!(seconds, [3, 6, 12, 18]);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_for_ever() {
        let mut person = Person::new(&[]);
        let begin = Instant::now();
        let message = person.wait(Duration::from_secs(10)).await.unwrap_err();
        assert!(
            message.starts_with("nobody logged in within 10s"),
            "{message}"
        );
        assert_eq!(begin.elapsed().as_secs(), 10);
        // Asked a last time when the time is over.
        assert_eq!(person.asked.len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_that_cannot_succeed_any_more_ends_the_wait() {
        let mut person = Person::new(&[None, Some("refused")]);
        let message = person.wait(Duration::from_mins(10)).await.unwrap_err();
        assert!(
            message.contains("run this again for a new link"),
            "{message}"
        );
        assert_eq!(person.asked.len(), 2);
    }
}
