//! Threads for system calls that a file system may never answer.
//!
//! Always true: an operation has a deadline. One that passes it keeps its thread until the system returns, and its path
//! counts as hanging until then: further operations on that path fail at once, with the same error. So a path takes a
//! few threads at most. Each kind of file has its own pool, so that a hang delays only its own kind, and no pool takes
//! the threads that other parts of the program need.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, LazyLock, Mutex, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use crate::system::locked::locked;

/// Deadline of one operation. A local disk answers in milliseconds, a busy network file system in a
/// second.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

const KEYTAB_THREADS: usize = 8;
const DIRECTORY_THREADS: usize = 16;
const CONFIGURATION_THREADS: usize = 4;
const NAME_THREADS: usize = 16;
const USER_THREADS: usize = 2;

/// Threads of all pools, which the runtime must provide.
pub(crate) const THREADS: usize =
    KEYTAB_THREADS + DIRECTORY_THREADS + CONFIGURATION_THREADS + NAME_THREADS + USER_THREADS;

pub(crate) static KEYTABS: LazyLock<Pool> = LazyLock::new(|| Pool::new(KEYTAB_THREADS, 1));
pub(crate) static DIRECTORIES: LazyLock<Pool> = LazyLock::new(|| Pool::new(DIRECTORY_THREADS, 2));
pub(crate) static CONFIGURATION: LazyLock<Pool> =
    LazyLock::new(|| Pool::new(CONFIGURATION_THREADS, 2));

/// Threads for look-ups of hosts, by their names in the place of paths.
pub(crate) static NAMES: LazyLock<Pool> = LazyLock::new(|| Pool::new(NAME_THREADS, 1));

/// Threads for look-ups of users, by their numbers in the place of paths.
pub(crate) static USERS: LazyLock<Pool> = LazyLock::new(|| Pool::new(USER_THREADS, 1));

#[derive(Debug)]
pub(crate) struct Pool {
    threads: Arc<Semaphore>,
    size: usize,
    per_path: usize,
    /// Paths that are in use; each operation and each waiter owns a reference.
    paths: Mutex<HashMap<PathBuf, Weak<Semaphore>>>,
    running: Running,
}

/// Operations that have a thread, each by its path, and the time from which it counts as hanging.
type Running = Arc<Mutex<Vec<(Arc<Path>, Instant)>>>;

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
            threads: Arc::new(Semaphore::new(threads)),
            size: threads,
            per_path,
            paths: Mutex::default(),
            running: Running::default(),
        }
    }

    /// Runs an operation on `path`. It goes on when the caller no longer waits.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        path: &Path,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let no_answer = || PoolError::NoAnswer(path.to_owned());
        let of_path = |running: &[(Arc<Path>, Instant)]| {
            let mut same = running.iter().filter(|(other, _)| **other == *path);
            same.next().map(|(_, hangs)| *hangs)
        };
        let permits = self.permits(path);
        let permit = self.permit(permits, of_path).await.ok_or_else(no_answer)?;
        let of_all = |running: &[(Arc<Path>, Instant)]| {
            let last = running.last().filter(|_| running.len() >= self.size);
            last.map(|(_, hangs)| *hangs)
        };
        let thread = self.permit(Arc::clone(&self.threads), of_all).await;
        let thread = thread.ok_or_else(|| PoolError::NoThread(path.to_owned()))?;
        let slot = Slot::new(path, &self.running, (permit, thread));
        let on_thread = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(slot);
            result
        });
        let result = timeout(DEADLINE, on_thread)
            .await
            .map_err(|_| no_answer())?;
        result.map_err(|error| PoolError::Broken(error.to_string()))
    }

    /// Waits for a permit, until the operations that have them count as hanging: from `hangs` on.
    async fn permit(
        &self,
        permits: Arc<Semaphore>,
        hangs: impl Fn(&[(Arc<Path>, Instant)]) -> Option<Instant>,
    ) -> Option<OwnedSemaphorePermit> {
        let mut permit = pin!(permits.acquire_owned());
        loop {
            let now = Instant::now();
            let hangs = hangs(&locked(&self.running)).unwrap_or(now + DEADLINE);
            if hangs <= now {
                return None;
            }
            if let Ok(permit) = timeout_at(hangs, &mut permit).await {
                // They are never closed.
                return permit.ok();
            }
        }
    }

    /// Permits of a path. They are removed, closed or not, when no operation on the path is left.
    fn permits(&self, path: &Path) -> Arc<Semaphore> {
        let mut paths = locked(&self.paths);
        paths.retain(|_, permits| permits.strong_count() > 0);
        if let Some(permits) = paths.get(path).and_then(Weak::upgrade) {
            return permits;
        }
        let permits = Arc::new(Semaphore::new(self.per_path));
        paths.insert(path.to_owned(), Arc::downgrade(&permits));
        permits
    }
}

/// Thread of an operation, until the system returns.
struct Slot {
    path: Arc<Path>,
    running: Running,
    _permits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl Slot {
    fn new(
        path: &Path,
        running: &Running,
        permits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
    ) -> Self {
        let path: Arc<Path> = path.into();
        let hangs = Instant::now() + DEADLINE;
        locked(running).push((Arc::clone(&path), hangs));
        Self {
            path,
            running: Arc::clone(running),
            _permits: permits,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        locked(&self.running).retain(|(path, _)| !Arc::ptr_eq(path, &self.path));
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

    fn pool(threads: usize, per_path: usize) -> Arc<Pool> {
        Arc::new(Pool::new(threads, per_path))
    }

    fn start(
        pool: &Arc<Pool>,
        path: &'static str,
        work: impl FnOnce() + Send + 'static,
    ) -> tokio::task::JoinHandle<Result<(), PoolError>> {
        let pool = Arc::clone(pool);
        tokio::spawn(async move { pool.run(Path::new(path), work).await })
    }

    fn no_answer() -> PoolError {
        PoolError::NoAnswer("/hangs".into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_path_that_hangs_is_an_error_at_once_until_it_answers_and_no_other_path_waits() {
        let pool = pool(4, 1);
        let mut hanging = Hanging::new();
        let first = start(&pool, "/hangs", hanging.work());
        hanging.begins().await;
        let waiting = start(&pool, "/hangs", || panic!("its place is taken"));
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
            .map(|_| start(&pool, "/hangs", hanging.work()))
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
        let given_up = start(&pool, "/hangs", hanging.work());
        hanging.begins().await;
        given_up.abort();
        let waiting = start(&pool, "/hangs", || ());
        tokio::task::yield_now().await;
        tokio::time::advance(DEADLINE).await;
        assert_eq!(waiting.await.unwrap(), Err(no_answer()));
        hanging.release = None;
    }

    #[tokio::test(start_paused = true)]
    async fn hanging_paths_take_no_more_threads_than_there_are() {
        let pool = pool(2, 1);
        let mut hanging = Hanging::new();
        let hung = ["/a", "/b"].map(|path| start(&pool, path, hanging.work()));
        hanging.begins().await;
        hanging.begins().await;
        let third = start(&pool, "/c", || panic!("there is no thread for it"));
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
                let pool = Arc::clone(&pool);
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
            start(&pool, "/hangs", hanging.work());
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
