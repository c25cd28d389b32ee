//! Bounded numbers of concurrent operations, for servers and processors that get slow under more load.
//!
//! Always true: an operation that takes long, most probably since it waits for an answer, releases its slot. So one that
//! hangs delays only those who wait for it.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Time after which an operation releases its slot.
pub(crate) const LATE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct RequestSlots(Semaphore);

impl RequestSlots {
    /// Slots for `at_a_time` operations.
    pub(crate) fn new(at_a_time: usize) -> Self {
        Self(Semaphore::new(at_a_time))
    }

    pub(crate) async fn run<A>(&self, work: impl Future<Output = A>) -> A {
        // The semaphore is never closed.
        let permit = self.0.acquire().await.ok();
        let mut work = pin!(work);
        let in_time = timeout(LATE, &mut work).await;
        drop(permit);
        match in_time {
            Ok(done) => done,
            Err(_) => work.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;

    use tokio::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn work_that_waits_leaves_room_for_others() {
        let slots = RequestSlots::new(2);
        let (running, most) = (Cell::new(0), Cell::new(0));
        let work = |lasts: Duration| {
            let (running, most) = (&running, &most);
            slots.run(async move {
                running.set(running.get() + 1);
                most.set(most.get().max(running.get()));
                tokio::time::sleep(lasts).await;
                running.set(running.get() - 1);
            })
        };
        let quick = Duration::from_millis(30);
        tokio::join!(work(quick), work(quick), work(quick), work(quick));
        assert_eq!(most.get(), 2, "so many at a time");

        let begin = Instant::now();
        let silent = async { tokio::join!(work(LONG), work(LONG)) };
        let others = async {
            tokio::join!(work(quick), work(quick), work(quick));
            begin.elapsed()
        };
        let (_, took) = tokio::join!(silent, others);
        assert!(took >= LATE && took < LATE + 3 * quick, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn many_that_hang_delay_the_next_one_by_seconds_and_lose_no_room() {
        let slots = Arc::new(RequestSlots::new(8));
        for _ in 0..80 {
            let slots = Arc::clone(&slots);
            tokio::spawn(async move { slots.run(tokio::time::sleep(LONG)).await });
        }
        tokio::task::yield_now().await;
        let begin = Instant::now();
        slots.run(async {}).await;
        assert!(begin.elapsed() <= 10 * LATE, "{:?}", begin.elapsed());
        tokio::time::sleep(2 * LONG).await;
        assert_eq!(slots.0.available_permits(), 8);
    }
}
