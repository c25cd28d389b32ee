//! Notices that files of the configuration have changed.
//!
//! The files are looked at every two seconds: which there are, and what the system says of each
//! (device, inode, size, times). That is a handful of system calls, and sees everything alike:
//! editors that write in place or replace by rename, files that come and go in `config.d`, links
//! that are swapped several directories away (Kubernetes), network file systems. The kernel's own
//! notices (inotify) need a watch on each directory along each link, miss other hosts' changes,
//! and would need this look as a safety net anyway.
//!
//! What holds: a change is told once, when two looks in a row see the same; a file that is being
//! written is let come to rest.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::{info, warn};

use super::faults::Faults;
use super::load::paths;
use crate::files::CONFIGURATION;

/// From one look to the next.
const PAUSE: Duration = Duration::from_secs(2);

/// Watches a configuration.
#[derive(Debug)]
pub struct Watch {
    file: PathBuf,
    /// As it was when it was last told of, or when the watch began.
    told: Look,
    last: Look,
    /// The files could not be looked at the last time.
    hangs: bool,
}

/// What the files are like.
type Look = Vec<(PathBuf, Option<Stamp>)>;

/// What tells a file from another one, and its content from an older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Watch {
    /// Of this file and `config.d` beside it. Begun before they are read, it misses nothing that
    /// changes while the service starts. Looks at them, and so may block.
    #[must_use]
    pub fn begin(file: &Path) -> Self {
        let now = look(file);
        Self {
            file: file.to_owned(),
            told: now.clone(),
            last: now,
            hangs: false,
        }
    }

    /// Waits until something has changed. Nothing is lost when it is cancelled.
    pub async fn changed(&mut self) {
        loop {
            tokio::time::sleep(PAUSE).await;
            let file = self.file.clone();
            match CONFIGURATION.run(&self.file, move || look(&file)).await {
                Ok(now) => {
                    if std::mem::take(&mut self.hangs) {
                        info!("changes of the configuration are noticed again");
                    }
                    if self.sees(now) {
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

    /// Whether something changed and has come to rest.
    fn sees(&mut self, now: Look) -> bool {
        let at_rest = self.last == now;
        let tell = at_rest && self.told != now;
        if tell {
            self.told.clone_from(&now);
        }
        self.last = now;
        tell
    }
}

fn look(file: &Path) -> Look {
    // A directory that cannot be read is told of when the configuration is read.
    let paths = paths(file, &mut Faults::default());
    let stamps = paths.into_iter().map(|path| {
        // Behind links: what counts is the file that would be read.
        let stamp = std::fs::metadata(&path).ok().map(|metadata| Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            written: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        });
        (path, stamp)
    });
    stamps.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    struct Folder(tempfile::TempDir, Watch);

    impl Folder {
        /// A folder in which the file `c.yaml` was looked at, and is at rest.
        fn new(prepare: impl Fn(&Path)) -> Self {
            let folder = tempfile::tempdir().unwrap();
            prepare(folder.path());
            let mut watch = Watch::begin(&folder.path().join("c.yaml"));
            assert!(!watch.sees(look(&watch.file)), "nothing changed");
            assert!(!watch.sees(look(&watch.file)));
            Self(folder, watch)
        }

        /// Does something, and says whether that is told, once and when it came to rest.
        fn tells(&mut self, change: impl Fn(&Path)) -> bool {
            change(self.0.path());
            let Self(_, watch) = self;
            let told: Vec<bool> = (0..4).map(|_| watch.sees(look(&watch.file))).collect();
            assert!(!told[0] && !told[2] && !told[3], "{told:?}");
            told[1]
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

    #[test]
    fn whatever_changes_a_file_is_told_once() {
        let mut folder = Folder::new(plain);
        assert!(folder.tells(|f| write(f.join("c.yaml"), "longer")));
        assert!(folder.tells(|f| {
            write(f.join("c.yaml.new"), "longer");
            fs::rename(f.join("c.yaml.new"), f.join("c.yaml")).unwrap();
        }));
        assert!(folder.tells(|f| write(f.join("config.d/b.yaml"), "new")));
        assert!(folder.tells(|f| {
            fs::rename(f.join("config.d/b.yaml"), f.join("config.d/c.yaml")).unwrap();
        }));
        assert!(folder.tells(|f| fs::remove_file(f.join("config.d/c.yaml")).unwrap()));
        assert!(folder.tells(|f| fs::remove_file(f.join("c.yaml")).unwrap()));
        assert!(folder.tells(|f| write(f.join("c.yaml"), "back")));
    }

    #[test]
    fn what_is_no_configuration_is_not_told() {
        let mut folder = Folder::new(plain);
        assert!(!folder.tells(|f| write(f.join("c.yaml~"), "backup")));
        assert!(!folder.tells(|f| write(f.join("config.d/.a.yaml.swp"), "editor")));
        assert!(!folder.tells(|_| ()));
    }

    #[test]
    fn a_link_that_is_swapped_elsewhere_is_told() {
        let mut folder = Folder::new(|f| {
            write(f.join("..one/c.yaml"), "same");
            write(f.join("..two/c.yaml"), "same");
            symlink("..one", f.join("..data")).unwrap();
            symlink("..data/c.yaml", f.join("c.yaml")).unwrap();
        });
        assert!(folder.tells(|f| {
            symlink("..two", f.join("..new")).unwrap();
            fs::rename(f.join("..new"), f.join("..data")).unwrap();
        }));
    }

    #[test]
    fn a_file_that_is_still_being_written_is_waited_for() {
        let Folder(folder, mut watch) = Folder::new(plain);
        for length in 1..5 {
            write(folder.path().join("c.yaml"), &"x".repeat(10 * length));
            assert!(!watch.sees(look(&watch.file)), "it changes still");
        }
        assert!(watch.sees(look(&watch.file)));
    }

    #[tokio::test(start_paused = true)]
    async fn it_tells_of_a_change_within_two_looks() {
        let Folder(folder, mut watch) = Folder::new(plain);
        let start = tokio::time::Instant::now();
        write(folder.path().join("c.yaml"), "longer");
        watch.changed().await;
        assert_eq!(start.elapsed().as_secs(), 2 * PAUSE.as_secs());
    }
}
