//! Work that may hang: on threads of its own, with a deadline for its answer.

use std::time::Duration;

use tokio::sync::oneshot;

/// Deadline for file systems at a start: everything waits for them.
pub(super) const ANSWER: Duration = Duration::from_secs(10);

/// Does work on a thread of its own. No answer comes when the thread cannot be started, or breaks off.
pub(super) fn on_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> oneshot::Receiver<T> {
    let (answer, answered) = oneshot::channel();
    // One that cannot be started drops the sender.
    let _ = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            // Who asked may have given up.
            let _ = answer.send(work());
        });
    answered
}

/// Does work on a thread of its own; `None` when there is no answer in time.
pub(super) async fn in_time<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let answer = tokio::time::timeout(ANSWER, on_thread(name, work)).await;
    answer.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_hangs_or_breaks_off_gives_no_answer() {
        assert_eq!(in_time("good", || 1).await, Some(1));
        let broken: Option<()> = in_time("broken", || panic!("breaks off")).await;
        assert_eq!(broken, None);
        tokio::time::pause();
        let hang = || loop {
            std::thread::park();
        };
        let silent: Option<()> = in_time("hangs", hang).await;
        assert_eq!(silent, None);
    }
}
