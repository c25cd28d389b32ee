//! The threads that renew: requests to Vault with all that TLS takes, and putting tokens in place.
//!
//! The loop ([`crate::daemon`]) keeps a thread for itself, so that it decides, looks and answers while
//! these work. What always holds: they start after the process gave up what it does not need, so
//! that they have given it up, too; where they cannot be had, the loop's own thread does the work.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

/// How many work at a time; more renewals are under way, but wait for answers.
const THREADS: usize = 2;

/// Stack of a thread, in bytes.
const STACK: usize = 512 * 1024;

/// Threads for disks and names, at most.
const HELPERS: usize = 64;

/// The threads, once they are started. The owner lives outside of all runtimes.
#[derive(Debug, Default)]
pub struct Workers(OnceLock<Runtime>);

impl Workers {
    /// Starts them, unless they run; where they can be given work. To be called from a runtime.
    pub fn start(&self) -> Handle {
        if let Some(runtime) = self.0.get() {
            return runtime.handle().clone();
        }
        let made = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .max_blocking_threads(HELPERS)
            .thread_name("renewals")
            .thread_stack_size(STACK)
            .enable_all()
            .build();
        match made {
            Ok(runtime) => self.0.get_or_init(|| runtime).handle().clone(),
            Err(error) => {
                tracing::warn!("renewals have no threads of their own: {error}");
                Handle::current()
            }
        }
    }

    /// Ends them, after what they have begun to write, at most after a while: a name server that
    /// hangs must not hold up the end.
    pub fn end(self, after: Duration) {
        if let Some(runtime) = self.0.into_inner() {
            runtime.shutdown_timeout(after);
        }
    }
}
