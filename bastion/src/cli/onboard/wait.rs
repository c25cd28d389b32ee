//! Wait for the login of a person, with a deadline and at the polling rate that the server wants.

use std::time::Duration;

use htvault::{Action, Client, DeviceFlow, Error, OidcLogin, Poll};
use tokio::time::Instant;

/// Pauses between two polls stay below this, however often the server asks to slow down.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// A login that waits for a person.
pub trait PendingLogin {
    /// Least time between two polls, as the server currently wants it.
    fn interval(&self) -> Duration;

    /// Polls once.
    fn poll(&mut self) -> impl Future<Output = Result<Poll, Error>>;
}

/// Reason why the login did not succeed.
#[derive(Debug)]
pub enum LoginFailure {
    /// Nobody logged in within this time.
    TimedOut(Duration),
    /// The login failed: refused, expired, or an error of Vault.
    Failed(Box<Error>),
}

impl std::fmt::Display for LoginFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TimedOut(limit) => write!(
                f,
                "nobody logged in within {}, so nothing was stored; run this again for a new link",
                crate::model::duration::format(*limit)
            ),
            Self::Failed(error) => {
                write!(
                    f,
                    "the login did not succeed, so nothing was stored; run this again for a new link: {error}"
                )
            }
        }
    }
}

impl PendingLogin for (&Client, DeviceFlow) {
    fn interval(&self) -> Duration {
        self.1.interval
    }

    async fn poll(&mut self) -> Result<Poll, Error> {
        self.0.poll(&mut self.1).await
    }
}

/// Waits until a person has logged in, at most `limit`. Calls `show` after each poll without a result, with the error if
/// there was one: a Vault that does not answer for a while does not end the wait.
///
/// # Errors
/// Nobody logged in, or the login cannot succeed any more.
pub async fn wait(
    flow: &mut impl PendingLogin,
    limit: Duration,
    mut show: impl FnMut(Option<&Error>),
) -> Result<Box<OidcLogin>, LoginFailure> {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(LoginFailure::TimedOut(limit));
        }
        tokio::time::sleep(flow.interval().min(LONGEST_PAUSE).min(left)).await;
        match flow.poll().await {
            Ok(Poll::Done(login)) => return Ok(login),
            Ok(Poll::Pending | Poll::SlowDown) => show(None),
            Err(error) if is_temporary(&error) => show(Some(&error)),
            Err(error) => return Err(LoginFailure::Failed(Box::new(error))),
        }
    }
}

fn is_temporary(error: &Error) -> bool {
    matches!(error.action(), Action::Retry | Action::SlowDown)
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
    }

    impl PendingLogin for Person {
        fn interval(&self) -> Duration {
            self.interval
        }

        async fn poll(&mut self) -> Result<Poll, Error> {
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
    }

    #[tokio::test(start_paused = true)]
    async fn polls_keep_to_the_interval_and_slow_down_when_asked() {
        let mut person = Person::new(&[None, Some("slow_down"), None, Some("done")]);
        let mut shown = 0;
        let login = wait(&mut person, Duration::from_mins(10), |_| shown += 1).await;
        assert_eq!(login.unwrap().credkey, "cmsprod");
        let seconds: Vec<u64> = person.asked.iter().map(Duration::as_secs).collect();
        assert_eq!(seconds, [3, 6, 12, 18]);
        assert_eq!(shown, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_for_ever() {
        let mut person = Person::new(&[]);
        let begin = Instant::now();
        let error = wait(&mut person, Duration::from_secs(10), |_| {}).await;
        let message = error.unwrap_err().to_string();
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
        let error = wait(&mut person, Duration::from_mins(10), |_| {}).await;
        let message = error.unwrap_err().to_string();
        assert!(
            message.contains("run this again for a new link"),
            "{message}"
        );
        assert_eq!(person.asked.len(), 2);
    }
}
