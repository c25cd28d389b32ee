//! Supervision of threads that call the file system: how long the present call has been going on.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::lock;

/// Shared between a thread that may hang and the loop that reports it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heartbeat(Arc<Mutex<Option<(Instant, String)>>>);

/// Ends the work that [`Heartbeat::start`] began, when dropped.
pub(crate) struct Working(Heartbeat);

impl Heartbeat {
    /// Notes that work on a file or folder begins.
    pub(crate) fn start(&self, path: &Path) -> Working {
        *lock(&self.0) = Some((Instant::now(), path.display().to_string()));
        Working(self.clone())
    }

    /// Notes that the work, if there is any, goes on: it consists of many calls.
    pub(crate) fn beat(&self) {
        if let Some((since, _)) = &mut *lock(&self.0) {
            *since = Instant::now();
        }
    }

    /// The file or folder that has been worked on for so long, if any.
    pub(crate) fn hanging(&self, limit: Duration) -> Option<String> {
        let work = lock(&self.0);
        let (since, path) = work.as_ref()?;
        (since.elapsed() >= limit).then(|| path.clone())
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        *lock(&self.0.0) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Heartbeat {
        /// Notes that work on a file or folder began some time ago.
        pub(crate) fn start_before(&self, path: &Path, ago: Duration) -> Working {
            let working = self.start(path);
            if let Some((since, _)) = &mut *lock(&self.0) {
                *since = since.checked_sub(ago).unwrap();
            }
            working
        }
    }
}
