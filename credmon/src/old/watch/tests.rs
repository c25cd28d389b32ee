//! Watches on real folders.

use super::*;
use std::fs;
use std::future::Future as _;
use std::task::{Context, Poll, Waker};

struct Fixture {
    dir: tempfile::TempDir,
    watch: Watch,
    folders: Folders,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("u")).unwrap();
        let (mut watch, mut folders) = (Watch::new(), Folders::default());
        let root = Folder::open(dir.path()).unwrap();
        watch.root(dir.path(), &root, &mut folders);
        let mut fixture = Self {
            dir,
            watch,
            folders,
        };
        fixture.rewatch("u");
        fixture
    }

    fn put(&self, name: &str) {
        let folder = self.dir.path().join("u");
        fs::write(folder.join(".credmon-1.tmp"), "x").unwrap();
        fs::rename(folder.join(".credmon-1.tmp"), folder.join(name)).unwrap();
    }

    /// Events are there as soon as the change is made, so a wait either ends or there is none.
    async fn change(&mut self) -> Option<Change> {
        for _ in 0..3 {
            self.watch.read_again = None;
            let mut wait = std::pin::pin!(self.watch.changed(&mut self.folders));
            let polled = wait.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            if let Poll::Ready(change) = polled {
                return Some(change);
            }
            tokio::task::yield_now().await;
        }
        None
    }

    /// The number of a folder's watch: the kernel gives the same for the same folder.
    fn number(&self, name: &str) -> WatchDescriptor {
        let inotify = &self.watch.events.as_ref().unwrap().get_ref().0;
        inotify
            .add_watch(&self.dir.path().join(name), FOLDER)
            .unwrap()
    }

    fn rewatch(&mut self, name: &str) {
        let root = Folder::open(self.dir.path()).unwrap();
        let file = FileId::from(&root.folder(name).unwrap().stat().unwrap());
        self.folders.add(&name.into());
        self.watch.folder(name, file, &mut self.folders);
    }
}

fn only(folder: &str) -> Change {
    Change {
        folders: [folder.into()].into(),
        everything: false,
    }
}

#[tokio::test]
async fn others_changes_tell_their_folder_and_our_own_wake_nobody() {
    let mut f = Fixture::new();
    assert_eq!(f.change().await, None);
    f.put("cms.top");
    assert_eq!(f.change().await, Some(only("u")));
    assert_eq!(f.change().await, None);
    f.put("cms.use");
    fs::write(f.dir.path().join("pid"), "1").unwrap();
    let _ = fs::read(f.dir.path().join("u/cms.top"));
    assert_eq!(f.change().await, None);
    fs::remove_file(f.dir.path().join("u/cms.use")).unwrap();
    assert_eq!(f.change().await, Some(only("u")));
    fs::create_dir(f.dir.path().join("v")).unwrap();
    assert_eq!(f.change().await, Some(only("v")));
    fs::remove_dir_all(f.dir.path().join("u")).unwrap();
    assert_eq!(f.change().await, Some(only("u")));
    fs::rename(f.dir.path(), f.dir.path().with_extension("x")).unwrap();
    assert!(f.change().await.unwrap().everything);
    fs::rename(f.dir.path().with_extension("x"), f.dir.path()).unwrap();
}

#[tokio::test]
async fn what_is_done_to_a_file_in_its_place_tells_its_folder() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut f = Fixture::new();
    for name in ["cms.top", "cms.use"] {
        f.put(name);
        f.change().await;
        let path = f.dir.path().join("u").join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert_eq!(f.change().await, Some(only("u")), "{name}");
        fs::File::create(&path).unwrap();
        assert_eq!(f.change().await, Some(only("u")), "{name}");
        f.change().await;
        fs::write(&path, "other").unwrap();
        assert_eq!(f.change().await, Some(only("u")), "{name}");
        f.change().await;
    }
}

#[tokio::test]
async fn after_a_queue_that_ran_over_no_watch_is_relied_on_until_it_is_set_again() {
    let mut f = Fixture::new();
    let folder = FileId::from(&fs_stat(&f));
    assert!(f.folders.covers("u", folder) && !f.folders.covers("v", folder));
    let overflow = InotifyEvent {
        wd: f.number("u"),
        mask: AddWatchFlags::IN_Q_OVERFLOW,
        cookie: 0,
        name: None,
    };
    Change::default().take_in(&overflow, &mut f.folders);
    assert!(!f.folders.covers("u", folder));
    f.rewatch("u");
    assert!(f.folders.covers("u", folder));
    f.put("cms.top");
    assert_eq!(f.change().await, Some(only("u")));
    assert_eq!(f.folders.watched(), 1);
}

fn fs_stat(f: &Fixture) -> nix::sys::stat::FileStat {
    let root = Folder::open(f.dir.path()).unwrap();
    root.look("u").unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_comes_in_a_rush_is_read_at_once() {
    let mut f = Fixture::new();
    f.put("cms.top");
    assert_eq!(f.watch.changed(&mut f.folders).await, only("u"));
    let read = Instant::now();
    f.put("cms.top");
    assert_eq!(f.watch.changed(&mut f.folders).await, only("u"));
    assert!(Instant::now() >= read + READ_GAP);
}

#[tokio::test]
async fn a_folder_made_anew_is_watched_anew_though_it_may_have_the_same_number() {
    let mut f = Fixture::new();
    for _ in 0..5 {
        fs::remove_dir_all(f.dir.path().join("u")).unwrap();
        fs::create_dir(f.dir.path().join("u")).unwrap();
        assert_eq!(f.change().await, Some(only("u")));
        f.rewatch("u");
        f.put("cms.top");
        assert_eq!(f.change().await, Some(only("u")));
    }
}

#[tokio::test]
async fn a_renamed_folder_is_known_by_its_new_name() {
    let mut f = Fixture::new();
    fs::rename(f.dir.path().join("u"), f.dir.path().join("v")).unwrap();
    let change = f.change().await.unwrap();
    assert_eq!(change.folders, ["u".into(), "v".into()].into());
    f.rewatch("v");
    fs::write(f.dir.path().join("v/cms.top"), "x").unwrap();
    assert_eq!(f.change().await, Some(only("v")));
}

#[tokio::test]
async fn a_queue_that_ran_over_means_everything() {
    let mut f = Fixture::new();
    let mut change = Change::default();
    let event = |mask| InotifyEvent {
        wd: f.number("u"),
        mask,
        cookie: 0,
        name: None,
    };
    let overflow = event(AddWatchFlags::IN_Q_OVERFLOW);
    change.take_in(&overflow, &mut f.folders);
    assert!(change.everything);
}

#[tokio::test]
async fn at_the_limit_the_rest_goes_unwatched() {
    let mut f = Fixture::new();
    f.watch.limit = Some(1);
    fs::create_dir(f.dir.path().join("v")).unwrap();
    f.rewatch("v");
    assert_eq!(f.folders.watched(), 1);
    assert!(f.watch.limit_told);
    f.put("cms.top");
    let change = f.change().await.unwrap();
    assert!(change.folders.contains("u") && change.folders.contains("v"));
}
