//! Calls that block and cannot be interrupted, each on a thread of its own.

use std::io;

use tokio::sync::oneshot;

/// Runs `work` on a new thread, which owns `place` until the work is done, whether or not the caller still waits;
/// `None` when the work panicked.
///
/// # Errors
/// The host gives no thread.
pub(crate) async fn run<T: Send + 'static>(
    name: &str,
    place: impl Send + 'static,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Option<T>> {
    let (send, receive) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(move || {
        let result = work();
        drop(place);
        // The caller may have given up.
        let _ = send.send(result);
    })?;
    Ok(receive.await.ok())
}
