//! Bounded acceptance of connections, the same for the control socket and for HTTP.
//!
//! What holds: no more connections are open than there are slots, and further ones wait in the
//! kernel, where they take no descriptor of this process; an accept that fails is retried after a
//! pause and logged once.

use std::future::{pending, poll_fn};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tracing::{info, warn};

/// Pause after an accept that failed, for want of descriptors most likely.
const PAUSE: Duration = Duration::from_secs(1);

/// Share of all descriptors that the connections of one server may take: an eighth. With two servers
/// three quarters are left for logins, requests to Vault, schedds and files.
const SHARE: u64 = 8;

/// Number of connections that a server may have open: `most`, or fewer where descriptors are few.
#[must_use]
pub fn limit(most: usize, descriptors: u64) -> usize {
    let share = usize::try_from(descriptors / SHARE).unwrap_or(usize::MAX);
    share.clamp(1, most)
}

/// Slots of one server.
pub(crate) struct Connections {
    slots: Arc<Semaphore>,
    server: &'static str,
    failing: bool,
}

impl Connections {
    pub(crate) fn new(server: &'static str, limit: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(limit)),
            server,
            failing: false,
        }
    }

    /// Accepts the next connection once a slot is free; the slot belongs to it.
    pub(crate) async fn next<S, A>(
        &mut self,
        mut accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<(S, A)>>,
    ) -> (S, OwnedSemaphorePermit) {
        let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else {
            // Never closed.
            return pending().await;
        };
        loop {
            match poll_fn(&mut accept).await {
                Ok((stream, _)) => {
                    if std::mem::take(&mut self.failing) {
                        info!("{} accepts connections again", self.server);
                    }
                    return (stream, slot);
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.failing, true) {
                        warn!("{} cannot accept connections: {error}", self.server);
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_quarters_of_all_descriptors_are_left_for_work() {
        assert_eq!(limit(64, 1024), 64);
        assert_eq!(limit(64, 256), 32);
        assert_eq!(limit(64, 16), 2);
        assert_eq!(limit(64, 4), 1);
        assert_eq!(limit(64, u64::MAX), 64);
    }

    #[tokio::test(start_paused = true)]
    async fn an_accept_that_fails_is_retried_after_a_pause() {
        let mut connections = Connections::new("the test", 1);
        let mut tries = 0;
        let start = tokio::time::Instant::now();
        let (stream, _slot) = connections
            .next(|_| {
                tries += 1;
                Poll::Ready(match tries {
                    1..=3 => Err(io::Error::from_raw_os_error(24)),
                    _ => Ok(("connected", ())),
                })
            })
            .await;
        assert_eq!((stream, tries), ("connected", 4));
        assert_eq!(start.elapsed(), 3 * PAUSE, "on paused time");
    }

    #[tokio::test]
    async fn without_a_free_slot_nothing_is_accepted() {
        let mut connections = Connections::new("the test", 1);
        let accept = |_: &mut Context<'_>| Poll::Ready(Ok(((), ())));
        let ((), slot) = connections.next(accept).await;
        tokio::select! {
            biased;
            _ = connections.next(accept) => panic!("no slot was free"),
            () = tokio::task::yield_now() => {}
        }
        drop(slot);
        let ((), _slot) = connections.next(accept).await;
    }
}
