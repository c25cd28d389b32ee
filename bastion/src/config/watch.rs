//! Changes of the configuration's files.
//!
//! The kernel notifies of changes in the directories of the files, and of the files that their links lead to. The files'
//! stamps then show whether one was written, replaced by rename, added to or removed from `config.d`, or swapped behind
//! a link (Kubernetes). Changes without a notice (by other hosts on a network file system) are found at the next check.
//! Always true: a change is reported once, when two reads of the stamps are equal, so not while a file is being written.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use htvault::clock::{Clock as _, SystemClock};
use jiff::tz::TimeZone;
use tokio::sync::watch::Receiver;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::Cron;
use super::faults::Faults;
use super::load::{folder, paths};
use crate::model::moment::until;
use crate::system::files::{CONFIGURATION, FileStamp, Notices};

/// Pause between a notice and the read of the stamps, and between two reads.
const PAUSE: Duration = Duration::from_secs(1);

/// Watch of a configuration.
#[derive(Debug)]
pub struct Watch {
    file: PathBuf,
    notices: Notices,
    wakes: Receiver<()>,
    /// Stamps when a change was last reported, or when the watch began.
    reported: Stamps,
    last: Stamps,
    /// The stamps must be read without waiting for a notice.
    is_due: bool,
    /// The last read of the stamps failed.
    hangs: bool,
}

/// The files and their stamps.
type Stamps = Vec<(PathBuf, Option<FileStamp>)>;

impl Watch {
    /// Begins to watch this file and the files of `config.d` beside it. Called before they are read, it misses no
    /// change during the start of the service. Blocks.
    #[must_use]
    pub fn begin(file: &Path) -> Self {
        let notices = Notices::new("the configuration");
        let wakes = notices.subscribe();
        let now = stamps(file, &notices);
        Self {
            file: file.to_owned(),
            notices,
            wakes,
            reported: now.clone(),
            last: now,
            is_due: false,
            hangs: false,
        }
    }

    /// Waits for a change; reads the stamps at each time of `check`, too. Cancelling it loses no change. While the last
    /// configuration is not used (`is_refused`), each time of `check` counts as a change: the reason may be another file, or
    /// an error that has passed.
    pub async fn changed(&mut self, check: &Cron, is_refused: bool) {
        let mut is_again = false;
        loop {
            if !self.is_due {
                let now = SystemClock.now();
                let pause = until(now, check.next(now, &TimeZone::system()));
                // Without inotify there are no notices, only checks.
                let woken = timeout(pause, self.wakes.changed()).await;
                is_again |= is_refused && woken.is_err();
                self.is_due = true;
            }
            sleep(PAUSE).await;
            let (file, notices) = (self.file.clone(), self.notices.clone());
            self.wakes.mark_unchanged();
            let read = CONFIGURATION.run(&self.file, move || stamps(&file, &notices));
            match read.await {
                Ok(now) => {
                    if std::mem::take(&mut self.hangs) {
                        info!("changes of the configuration are noticed again");
                    }
                    if self.is_new(now) || is_again && !self.is_due {
                        return;
                    }
                }
                Err(failure) if !self.hangs => {
                    warn!("changes of the configuration are not noticed: {failure}");
                    self.hangs = true;
                }
                Err(_) => {}
            }
        }
    }

    /// Returns true when something has changed, and did not change again since the last read.
    fn is_new(&mut self, now: Stamps) -> bool {
        let is_settled = self.last == now;
        let is_new = is_settled && self.reported != now;
        if is_new {
            self.reported.clone_from(&now);
        }
        self.last = now;
        self.is_due = !is_settled;
        is_new
    }
}

/// Watches the directories of the files, then reads the stamps: so no change between the two is missed.
fn stamps(file: &Path, notices: &Notices) -> Stamps {
    // A directory that cannot be read is a fault when the configuration is read.
    let paths = paths(file, &mut Faults::default());
    let mut directories = BTreeSet::from([folder(file)]);
    for path in &paths {
        // Links may lead to another directory.
        let real = std::fs::canonicalize(path);
        let both = [Some(path.as_path()), real.as_deref().ok()];
        let parents = both.into_iter().flatten().filter_map(Path::parent);
        directories.extend(parents.map(Path::to_owned));
    }
    for directory in directories {
        let here = directory.as_os_str().is_empty();
        notices.watch(if here { Path::new(".") } else { &directory });
    }
    let stamped = paths.into_iter().map(|path| {
        let stamp = FileStamp::of(&path);
        (path, stamp)
    });
    stamped.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    struct Folder(tempfile::TempDir, Watch);

    impl Folder {
        /// A watched folder with the file `c.yaml`.
        fn new(prepare: impl Fn(&Path)) -> Self {
            let folder = tempfile::tempdir().unwrap();
            prepare(folder.path());
            let watch = Watch::begin(&folder.path().join("c.yaml"));
            let mut folder = Self(folder, watch);
            assert!(!folder.is_new(), "nothing changed");
            folder
        }

        fn is_new(&mut self) -> bool {
            let now = stamps(&self.1.file, &self.1.notices);
            self.1.is_new(now)
        }

        /// Does something, and says if that is reported, once and when it has settled.
        fn reports(&mut self, change: impl Fn(&Path)) -> bool {
            change(self.0.path());
            let reported: Vec<bool> = (0..4).map(|_| self.is_new()).collect();
            assert!(!reported[0] && !reported[2] && !reported[3], "{reported:?}");
            reported[1]
        }
    }

    fn write(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn plain(folder: &Path) {
        write(folder.join("c.yaml"), "one");
        write(folder.join("config.d/a.yaml"), "one");
    }

    fn linked(folder: &Path) {
        write(folder.join("..one/c.yaml"), "same");
        write(folder.join("..two/c.yaml"), "same");
        symlink("..one", folder.join("..data")).unwrap();
        symlink("..data/c.yaml", folder.join("c.yaml")).unwrap();
    }

    fn swap_link(folder: &Path) {
        symlink("..two", folder.join("..new")).unwrap();
        fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
    }

    #[test]
    fn whatever_changes_a_file_is_reported_once() {
        let mut folder = Folder::new(plain);
        assert!(folder.reports(|f| write(f.join("c.yaml"), "longer")));
        assert!(folder.reports(|f| {
            write(f.join("c.yaml.new"), "longer");
            fs::rename(f.join("c.yaml.new"), f.join("c.yaml")).unwrap();
        }));
        assert!(folder.reports(|f| write(f.join("config.d/b.yaml"), "new")));
        assert!(folder.reports(|f| {
            fs::rename(f.join("config.d/b.yaml"), f.join("config.d/c.yaml")).unwrap();
        }));
        assert!(folder.reports(|f| fs::remove_file(f.join("config.d/c.yaml")).unwrap()));
        assert!(folder.reports(|f| fs::remove_file(f.join("c.yaml")).unwrap()));
        assert!(folder.reports(|f| write(f.join("c.yaml"), "back")));
        assert!(Folder::new(linked).reports(swap_link));
    }

    #[test]
    fn what_is_no_configuration_is_not_reported() {
        let mut folder = Folder::new(plain);
        assert!(!folder.reports(|f| write(f.join("c.yaml~"), "backup")));
        assert!(!folder.reports(|f| write(f.join("config.d/.a.yaml.swp"), "editor")));
        assert!(!folder.reports(|_| ()));
    }

    #[test]
    fn a_file_that_is_still_being_written_is_waited_for() {
        let mut folder = Folder::new(plain);
        for length in 1..5 {
            write(folder.0.path().join("c.yaml"), &"x".repeat(10 * length));
            assert!(!folder.is_new(), "it changes still");
        }
        assert!(folder.is_new());
    }

    #[tokio::test]
    async fn changes_are_noticed_long_before_the_next_check() {
        let yearly = Cron::parse("0 0 1 1 *").unwrap();
        let Folder(folder, mut watch) = Folder::new(plain);
        write(folder.path().join("c.yaml"), "longer");
        watch.changed(&yearly, false).await;
        fs::remove_dir_all(folder.path().join("config.d")).unwrap();
        watch.changed(&yearly, false).await;
        write(folder.path().join("config.d/b.yaml"), "another folder");
        watch.changed(&yearly, false).await;
        write(folder.path().join("config.d/b.yaml"), "and again");
        watch.changed(&yearly, false).await;
        let Folder(folder, mut watch) = Folder::new(linked);
        swap_link(folder.path());
        watch.changed(&yearly, false).await;
        write(folder.path().join("..two/c.yaml"), "behind two links");
        watch.changed(&yearly, false).await;
    }

    #[tokio::test(start_paused = true)]
    async fn changes_without_a_notice_are_found_at_the_next_check() {
        let Folder(folder, mut watch) = Folder::new(plain);
        let (_silent, wakes) = tokio::sync::watch::channel(());
        watch.wakes = wakes;
        let start = tokio::time::Instant::now();
        write(folder.path().join("c.yaml"), "longer");
        let check = Cron::parse("*/10 * * * *").unwrap();
        watch.changed(&check, false).await;
        assert!(start.elapsed() <= Duration::from_mins(10) + 2 * PAUSE);
        // Nothing has changed since.
        let long = Duration::from_mins(25);
        assert!(timeout(long, watch.changed(&check, false)).await.is_err());
        let again = timeout(long, watch.changed(&check, true)).await;
        assert!(
            again.is_ok(),
            "the reason for which it is not used may have gone"
        );
    }
}
