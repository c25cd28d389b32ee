//! The threads that renew: requests to Vault with all that TLS takes, and putting tokens in place.
//!
//! The loop ([`crate::old::daemon`]) keeps a thread for itself, so that it decides, looks and answers while
//! these work. Each is a runtime of its own, with its own connections, and does what it was given: one
//! scheduler for all, which moves work between them, is larger and no faster. What always holds: they
//! start after the process gave up what it does not need, so that they have given it up, too; where
//! they cannot be had, the loop's own thread does the work; their end takes no longer than is said.

use std::io;
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// How many work at a time; more renewals are under way, but wait for answers.
const THREADS: usize = 2;

/// Stack of a thread, in bytes.
const STACK: usize = 512 * 1024;

/// Threads for disks and names that each may have, at most.
const HELPERS: usize = 32;

const NAME: &str = "renewals";

/// The threads, once they are started. The owner lives outside of all runtimes.
#[derive(Debug, Default)]
pub struct Workers(OnceLock<Vec<Worker>>);

/// Where renewals can be given to; without any, the caller's own runtime.
#[derive(Clone, Debug, Default)]
pub struct Threads(Vec<Handle>);

#[derive(Debug)]
struct Worker {
    handle: Handle,
    /// Has it end; helpers may take so long.
    end: oneshot::Sender<Duration>,
    /// Is closed when it has ended.
    ended: Receiver<()>,
}

/// A thread that has yet to say that it can work.
struct Starting {
    started: Receiver<io::Result<Handle>>,
    end: oneshot::Sender<Duration>,
    ended: Receiver<()>,
}

impl Workers {
    /// Starts them, unless they run; where they can be given work.
    pub fn start(&self) -> Threads {
        self.start_each(Starting::new)
    }

    fn start_each(&self, start: impl Fn() -> io::Result<Starting>) -> Threads {
        let workers = self.0.get_or_init(|| {
            // All are under way before the first is waited for.
            let starting: Vec<_> = (0..THREADS).map(|_| start()).collect();
            let started = starting.into_iter().map(|new| new?.finish());
            let missing = |error: &_| {
                tracing::warn!("renewals have one thread less of their own: {error}");
            };
            started
                .filter_map(|worker| worker.inspect_err(missing).ok())
                .collect()
        });
        Threads(workers.iter().map(|worker| worker.handle.clone()).collect())
    }

    /// Ends them, after what they have begun to write, at most after a while: a name server that
    /// hangs must not hold up the end.
    pub fn end(self, after: Duration) {
        let until = Instant::now() + after;
        let workers = self.0.into_inner().unwrap_or_default();
        // All are told before the first is waited for.
        let ending: Vec<_> = workers
            .into_iter()
            .map(|worker| {
                // One that does not listen has ended.
                let _ = worker.end.send(after);
                worker.ended
            })
            .collect();
        for ended in ending {
            // It has ended, or hangs.
            let _ = ended.recv_timeout(until.saturating_duration_since(Instant::now()));
        }
    }
}

impl Starting {
    fn new() -> io::Result<Self> {
        let (start, started) = mpsc::sync_channel(1);
        let (end, told) = oneshot::channel();
        let (alive, ended) = mpsc::sync_channel(0);
        let work = move || {
            let _alive: mpsc::SyncSender<()> = alive;
            let runtime = Builder::new_current_thread()
                .max_blocking_threads(HELPERS)
                .thread_name(NAME)
                .thread_stack_size(STACK)
                .enable_all()
                .build();
            // Nobody listens only when the process ends.
            match runtime {
                Ok(runtime) => {
                    let _ = start.send(Ok(runtime.handle().clone()));
                    // Whoever could tell is gone only when the process ends.
                    let after = runtime.block_on(told).unwrap_or_default();
                    runtime.shutdown_timeout(after);
                }
                Err(error) => {
                    let _ = start.send(Err(error));
                }
            }
        };
        let new = thread::Builder::new().name(NAME.to_owned());
        new.stack_size(STACK).spawn(work)?;
        Ok(Self {
            started,
            end,
            ended,
        })
    }

    fn finish(self) -> io::Result<Worker> {
        let handle = self.started.recv().map_err(io::Error::other)??;
        Ok(Worker {
            handle,
            end: self.end,
            ended: self.ended,
        })
    }
}

impl Threads {
    /// The one with the least to do. To be called from a runtime.
    #[must_use]
    pub fn idlest(&self) -> Handle {
        let all = self.0.iter();
        let idlest = all.min_by_key(|handle| handle.metrics().num_alive_tasks());
        idlest.cloned().unwrap_or_else(Handle::current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Barrier};
    use tokio::sync::Semaphore;

    /// Nothing here takes so long.
    const FAR: Duration = Duration::from_mins(1);

    fn runtime() -> tokio::runtime::Runtime {
        Builder::new_current_thread().build().unwrap()
    }

    /// Whether the workers end though something of theirs hangs until this returns.
    fn end_in_time(workers: Workers, hanging: mpsc::Sender<()>) -> bool {
        let (tell, told) = mpsc::channel();
        let end = thread::spawn(move || {
            workers.end(Duration::from_millis(10));
            tell.send(()).unwrap();
        });
        let in_time = told.recv_timeout(FAR).is_ok();
        drop(hanging);
        end.join().unwrap();
        in_time
    }

    #[test]
    fn renewals_run_on_threads_of_their_own_which_share_the_work() {
        let (workers, runtime) = (Workers::default(), runtime());
        let threads = workers.start();
        assert_eq!(threads.0.len(), THREADS);
        let again = workers.start();
        let done = runtime.block_on(async move {
            let release = Arc::new(Semaphore::new(0));
            let mut first = Vec::new();
            for _ in 0..THREADS {
                let release = Arc::clone(&release);
                let renewal = async move {
                    release.acquire().await.unwrap().forget();
                    let thread = thread::current();
                    (thread.id(), thread.name().map(str::to_owned))
                };
                first.push(threads.idlest().spawn(renewal));
            }
            // As long as none has ended, each thread has one.
            release.add_permits(THREADS);
            let mut done = Vec::new();
            for renewal in first {
                done.push(renewal.await.unwrap());
            }
            done
        });
        let ids: std::collections::HashSet<_> = done.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids.len(), THREADS);
        assert!(!ids.contains(&thread::current().id()));
        assert!(done.iter().all(|(_, name)| name.as_deref() == Some(NAME)));
        let id = |threads: Threads| threads.0.iter().map(Handle::id).collect::<Vec<_>>();
        assert_eq!(id(workers.start()), id(again));
        workers.end(FAR);
    }

    #[test]
    fn without_threads_the_loops_own_does_the_work() {
        let (workers, runtime) = (Workers::default(), runtime());
        let threads = workers.start_each(|| Err(io::Error::other("no more threads")));
        let here = runtime.block_on(async move {
            let renewal = async { thread::current().id() };
            threads.idlest().spawn(renewal).await.unwrap()
        });
        assert_eq!(here, thread::current().id());
        workers.end(FAR);
    }

    #[test]
    fn the_end_waits_for_what_a_helper_has_begun() {
        let workers = Workers::default();
        let threads = workers.start();
        let thread = threads.0.first().unwrap().clone();
        let is_written = Arc::new(AtomicBool::new(false));
        let written = Arc::clone(&is_written);
        let (tell, begun) = mpsc::channel();
        let helper = thread.clone();
        thread.spawn_blocking(move || {
            tell.send(()).unwrap();
            // Until no more work is taken, which is when the end has begun.
            loop {
                let (open, is_open) = mpsc::channel();
                helper.spawn_blocking(move || open.send(()));
                if is_open.recv().is_err() {
                    break;
                }
            }
            written.store(true, Ordering::SeqCst);
        });
        begun.recv_timeout(FAR).unwrap();
        workers.end(FAR);
        assert!(is_written.load(Ordering::SeqCst));
    }

    #[test]
    fn a_helper_that_hangs_does_not_hold_up_the_end() {
        let workers = Workers::default();
        let (hanging, hangs) = mpsc::channel();
        let barrier = Arc::new(Barrier::new(2));
        let begun = Arc::clone(&barrier);
        let threads = workers.start();
        threads.0.first().unwrap().spawn_blocking(move || {
            begun.wait();
            hangs.recv()
        });
        barrier.wait();
        assert!(end_in_time(workers, hanging));
    }

    #[test]
    fn a_thread_that_hangs_does_not_hold_up_the_end() {
        let workers = Workers::default();
        let (hanging, hangs) = mpsc::channel();
        let barrier = Arc::new(Barrier::new(2));
        let begun = Arc::clone(&barrier);
        let threads = workers.start();
        threads.0.first().unwrap().spawn(async move {
            begun.wait();
            hangs.recv()
        });
        barrier.wait();
        assert!(end_in_time(workers, hanging));
    }
}
