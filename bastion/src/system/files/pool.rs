//! Threads for system calls that a file system may never answer.
//!
//! Always true: an operation has a deadline. One that passes it keeps its thread until the system returns, and its path
//! counts as hanging until then: further operations on that path fail at once, with the same error. So a path takes a
//! few threads at most. Each kind of file has its own pool, so that a hang delays only its own kind, and no pool takes
//! the threads that other parts of the program need.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

/// Deadline of one operation. A local disk answers in milliseconds, a busy network file system in a
/// second.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

const KEYTAB_THREADS: usize = 8;
const DIRECTORY_THREADS: usize = 16;
const CONFIGURATION_THREADS: usize = 4;
const NAME_THREADS: usize = 4;
const USER_THREADS: usize = 2;

/// Threads of all pools, which the runtime must provide.
pub(crate) const THREADS: usize =
    KEYTAB_THREADS + DIRECTORY_THREADS + CONFIGURATION_THREADS + NAME_THREADS + USER_THREADS;

/// Threads for keytabs.
pub(crate) static KEYTABS: LazyLock<Pool> = LazyLock::new(|| Pool::new(KEYTAB_THREADS, 1));
/// Threads for credential directories.
pub(crate) static DIRECTORIES: LazyLock<Pool> = LazyLock::new(|| Pool::new(DIRECTORY_THREADS, 2));
/// Threads for configuration files.
pub(crate) static CONFIGURATION: LazyLock<Pool> =
    LazyLock::new(|| Pool::new(CONFIGURATION_THREADS, 2));

/// Threads for look-ups of hosts, by their names in the place of paths.
pub(crate) static NAMES: LazyLock<Pool> = LazyLock::new(|| Pool::new(NAME_THREADS, 1));

/// Threads for look-ups of users, by their numbers in the place of paths.
pub(crate) static USERS: LazyLock<Pool> = LazyLock::new(|| Pool::new(USER_THREADS, 1));

/// A bounded number of threads.
#[derive(Debug)]
pub(crate) struct Pool {
    threads: usize,
    per_path: usize,
    running: Mutex<Vec<Operation>>,
    /// Wakes those who wait for a thread, after an operation has ended.
    ended: Notify,
}

/// Operation that has a thread.
#[derive(Debug)]
struct Operation {
    path: Arc<Path>,
    /// Time from which it counts as hanging.
    hangs: Instant,
}

/// Reason why an operation gave no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PoolError {
    /// The file system of this path does not answer.
    #[error(
        "the file system of {} does not answer within {} s; check its mount and its server",
        .0.display(), DEADLINE.as_secs()
    )]
    NoAnswer(PathBuf),
    /// Operations on other paths hang, on all threads there are.
    #[error(
        "{} was not read, since too many other files do not answer; check their file systems",
        .0.display()
    )]
    NoThread(PathBuf),
    /// A bug of this program.
    #[error("{0}; this is a fault of token-bastion, please report it")]
    Broken(String),
}

impl Pool {
    /// A pool of at most `threads` threads, `per_path` of them for one path.
    pub(crate) fn new(threads: usize, per_path: usize) -> Self {
        Self {
            threads,
            per_path,
            running: Mutex::default(),
            ended: Notify::new(),
        }
    }

    /// Runs an operation on `path`. It goes on when the caller no longer waits.
    pub(crate) async fn run<T: Send + 'static>(
        &'static self,
        path: &Path,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let slot = self.slot(path).await?;
        let on_thread = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(slot);
            result
        });
        let result = timeout(DEADLINE, on_thread).await;
        let result = result.map_err(|_| PoolError::NoAnswer(path.to_owned()))?;
        result.map_err(|error| PoolError::Broken(error.to_string()))
    }

    /// Waits for a thread, until the operations in the way count as hanging.
    async fn slot(&'static self, path: &Path) -> Result<Slot, PoolError> {
        loop {
            // From here on no end is missed.
            let ended = self.ended.notified();
            let now = Instant::now();
            let (hangs, error) = {
                let mut running = self.running();
                let mut of_path = running.iter().filter(|other| *other.path == *path);
                // The oldest on the path, and the youngest of all.
                let oldest = of_path.next().map(|operation| operation.hangs);
                let is_path_full = of_path.count() + 1 >= self.per_path;
                let youngest = running.last().map(|operation| operation.hangs);
                match (oldest, youngest) {
                    (Some(hangs), _) if is_path_full || hangs <= now => {
                        (hangs, PoolError::NoAnswer(path.to_owned()))
                    }
                    (_, Some(hangs)) if running.len() >= self.threads => {
                        (hangs, PoolError::NoThread(path.to_owned()))
                    }
                    _ => {
                        let path: Arc<Path> = path.into();
                        running.push(Operation {
                            path: Arc::clone(&path),
                            hangs: now + DEADLINE,
                        });
                        return Ok(Slot { pool: self, path });
                    }
                }
            };
            if hangs <= now {
                return Err(error);
            }
            let _ = timeout_at(hangs, ended).await;
        }
    }

    fn running(&self) -> MutexGuard<'_, Vec<Operation>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Thread of an operation, until the system returns.
struct Slot {
    pool: &'static Pool,
    path: Arc<Path>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let is_other = |other: &Operation| !Arc::ptr_eq(&other.path, &self.path);
        self.pool.running().retain(is_other);
        self.pool.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Operations that hang until they are released.
    struct Hanging {
        begun: (mpsc::Sender<()>, mpsc::Receiver<()>),
        release: Option<mpsc::Sender<()>>,
        blocked: Arc<Mutex<mpsc::Receiver<()>>>,
    }

    impl Hanging {
        fn new() -> Self {
            let (release, blocked) = mpsc::channel();
            Self {
                begun: mpsc::channel(),
                release: Some(release),
                blocked: Arc::new(Mutex::new(blocked)),
            }
        }

        fn work(&self) -> impl FnOnce() + Send + 'static {
            let (begun, blocked) = (self.begun.0.clone(), Arc::clone(&self.blocked));
            move || {
                begun.send(()).unwrap();
                // Until nobody can release it any more.
                let _ = blocked.lock().unwrap().recv();
            }
        }

        async fn begins(&self) {
            while self.begun.1.try_recv().is_err() {
                tokio::task::yield_now().await;
            }
        }
    }

    fn pool(threads: usize, per_path: usize) -> &'static Pool {
        Box::leak(Box::new(Pool::new(threads, per_path)))
    }

    fn start(
        pool: &'static Pool,
        path: &'static str,
        work: impl FnOnce() + Send + 'static,
    ) -> tokio::task::JoinHandle<Result<(), PoolError>> {
        tokio::spawn(async move { pool.run(Path::new(path), work).await })
    }

    fn no_answer() -> PoolError {
        PoolError::NoAnswer("/hangs".into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_path_that_hangs_is_an_error_at_once_until_it_answers_and_no_other_path_waits() {
        let pool = pool(4, 1);
        let mut hanging = Hanging::new();
        let first = start(pool, "/hangs", hanging.work());
        hanging.begins().await;
        let waiting = start(pool, "/hangs", || panic!("its place is taken"));
        tokio::time::advance(DEADLINE).await;
        let error = first.await.unwrap().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the file system of /hangs does not answer within 10 s; check its mount and its server"
        );
        assert_eq!(waiting.await.unwrap(), Err(no_answer()));
        let before = Instant::now();
        let again = pool.run(Path::new("/hangs"), || ()).await;
        assert_eq!(again, Err(no_answer()));
        assert_eq!(before.elapsed(), Duration::ZERO);
        assert_eq!(pool.run(Path::new("/other"), || 7).await, Ok(7));

        hanging.release = None;
        while pool.run(Path::new("/hangs"), || ()).await.is_err() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_path_takes_few_threads_however_often_it_is_asked() {
        let pool = pool(8, 2);
        let mut hanging = Hanging::new();
        let all: Vec<_> = (0..20)
            .map(|_| start(pool, "/hangs", hanging.work()))
            .collect();
        hanging.begins().await;
        hanging.begins().await;
        tokio::time::advance(DEADLINE).await;
        for asked in all {
            assert_eq!(asked.await.unwrap(), Err(no_answer()));
        }
        assert!(hanging.begun.1.try_recv().is_err(), "two have begun");
        hanging.release = None;
    }

    #[tokio::test(start_paused = true)]
    async fn a_hang_is_seen_when_nobody_waits_for_it_any_more() {
        let pool = pool(4, 1);
        let mut hanging = Hanging::new();
        let given_up = start(pool, "/hangs", hanging.work());
        hanging.begins().await;
        given_up.abort();
        let waiting = start(pool, "/hangs", || ());
        tokio::task::yield_now().await;
        tokio::time::advance(DEADLINE).await;
        assert_eq!(waiting.await.unwrap(), Err(no_answer()));
        hanging.release = None;
    }

    #[tokio::test(start_paused = true)]
    async fn hanging_paths_take_no_more_threads_than_there_are() {
        let pool = pool(2, 1);
        let mut hanging = Hanging::new();
        let hung = ["/a", "/b"].map(|path| start(pool, path, hanging.work()));
        hanging.begins().await;
        hanging.begins().await;
        let third = start(pool, "/c", || panic!("there is no thread for it"));
        tokio::task::yield_now().await;
        tokio::time::advance(DEADLINE).await;
        for hung in hung {
            assert!(matches!(hung.await.unwrap(), Err(PoolError::NoAnswer(_))));
        }
        let error = third.await.unwrap().unwrap_err();
        assert_eq!(error, PoolError::NoThread("/c".into()));
        assert!(error.to_string().starts_with("/c was not read, since"));
        let before = Instant::now();
        let fourth = pool.run(Path::new("/d"), || ()).await;
        assert_eq!(fourth, Err(PoolError::NoThread("/d".into())));
        assert_eq!(before.elapsed(), Duration::ZERO);
        hanging.release = None;
        while pool.run(Path::new("/d"), || ()).await.is_err() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn slow_operations_are_waited_for_as_long_as_they_end() {
        let pool = pool(1, 1);
        let all: Vec<_> = (0..3)
            .map(|n| {
                let (release, blocked) = mpsc::channel::<()>();
                let path = PathBuf::from(format!("/{n}"));
                let work = move || blocked.recv().is_err();
                let asked = tokio::spawn(async move { pool.run(&path, work).await });
                (release, asked)
            })
            .collect();
        for (release, asked) in all {
            tokio::time::advance(DEADLINE * 9 / 10).await;
            drop(release);
            assert_eq!(asked.await.unwrap(), Ok(true));
        }
    }

    #[test]
    fn what_hangs_in_a_runtime_that_has_ended_is_seen_in_the_next_one() {
        let pool = pool(2, 1);
        let mut hanging = Hanging::new();
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_time().start_paused(true).build().unwrap()
        };
        let first = runtime();
        first.block_on(async {
            start(pool, "/hangs", hanging.work());
            hanging.begins().await;
        });
        first.shutdown_background();
        let again = runtime().block_on(pool.run(Path::new("/hangs"), || ()));
        assert_eq!(again, Err(no_answer()));
        hanging.release = None;
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_costs_no_thread() {
        let pool = pool(1, 1);
        let broken = pool.run(Path::new("/x"), || panic!("on purpose")).await;
        assert!(matches!(broken, Err::<(), _>(PoolError::Broken(_))));
        assert_eq!(pool.run(Path::new("/x"), || 7).await, Ok(7));
    }
}
