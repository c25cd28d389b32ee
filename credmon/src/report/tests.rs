//! The files that are published, by the thread that writes them.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;
use crate::model::Renewals;
use crate::model::State;
use crate::model::fixtures::{at, credential, daemon};

/// Far above what writing takes.
const FAR: Duration = Duration::from_mins(1);

impl Publisher {
    /// The snapshot that waits to be written.
    pub(crate) fn latest(&self) -> Option<Snapshot> {
        let pending = lock(&self.shared.0);
        pending
            .snapshot
            .as_ref()
            .map(|(_, snapshot)| snapshot.clone())
    }
}

fn snapshot(user: &str) -> Snapshot {
    Snapshot {
        daemon: daemon(),
        credentials: Arc::new(vec![credential(user, State::Fresh, 3600)]),
        started: at(1),
        scanned: None,
        watched_folders: 0,
        renewals: Renewals::new(),
        lines_dropped: 0,
    }
}

fn outputs(folder: &Path) -> Outputs {
    Outputs {
        status_file: Some(folder.join("status")),
        status_mode: 0o640,
        metrics_file: Some(folder.join("metrics.prom")),
        metrics_per_credential: true,
    }
}

#[test]
fn files_are_written_whole_with_their_mode_and_the_latest_snapshot_counts() {
    let dir = tempfile::tempdir().unwrap();
    let publisher = Publisher::start(None).unwrap();
    for user in ["a", "b", "c"] {
        publisher.publish(&outputs(dir.path()), snapshot(user));
    }
    publisher.flush(FAR);
    assert_eq!(publisher.problems(), Vec::<String>::new());
    let path = dir.path().join("status");
    let (_, credentials) = status_file::read(&path, |_| true).unwrap();
    assert_eq!(&*credentials[0].user, "c");
    let metrics = std::fs::read_to_string(dir.path().join("metrics.prom")).unwrap();
    assert!(metrics.contains("user=\"c\""));
    let meta = std::fs::metadata(&path).unwrap();
    assert_eq!(meta.permissions().mode() & 0o7777, 0o640);
    assert_eq!(meta.gid(), std::fs::metadata(dir.path()).unwrap().gid());
    assert_eq!(
        dir.path().read_dir().unwrap().count(),
        2,
        "nothing is left over"
    );
}

#[test]
fn what_a_killed_run_left_beside_a_file_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    for (name, age) in [
        (".credmon-4294967295-1.tmp", 200),
        (".credmon-4294967295-2.tmp", 0),
        ("another's", 200),
    ] {
        let file = std::fs::File::create(dir.path().join(name)).unwrap();
        let made = file.metadata().unwrap().modified().unwrap();
        file.set_modified(made - Duration::from_secs(age)).unwrap();
    }
    let problems = write(&outputs(dir.path()), &snapshot("a"), &Heartbeat::default());
    assert_eq!(problems, Vec::<String>::new());
    let names = dir.path().read_dir().unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    // A process of another host may be writing the young one just now.
    let young = ".credmon-4294967295-2.tmp";
    assert_eq!(names, [young, "another's", "metrics.prom", "status"]);
}

#[test]
fn a_file_that_cannot_be_written_is_a_problem_and_harms_no_other_until_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let publisher = Publisher::start(None).unwrap();
    let missing = dir.path().join("missing");
    let both = Outputs {
        metrics_file: Some(missing.join("metrics.prom")),
        ..outputs(dir.path())
    };
    publisher.publish(&both, snapshot("a"));
    let problems = publisher.flush(FAR);
    assert_eq!(problems.len(), 1);
    publisher.publish(&both, snapshot("a"));
    assert!(publisher.flush(FAR).is_empty(), "it is known");
    assert_eq!(publisher.problems(), problems);
    assert!(
        problems[0].contains("CREDMON_HTVAULT_METRICS_FILE"),
        "{problems:?}"
    );
    assert!(dir.path().join("status").exists());
    std::fs::create_dir(missing).unwrap();
    publisher.publish(&both, snapshot("a"));
    publisher.flush(FAR);
    assert_eq!(publisher.problems(), Vec::<String>::new());
}

#[test]
fn devices_pipes_and_folders_in_the_place_of_a_file_stay_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let folder = dir.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    let write_to = |path: &Path| {
        let only = Outputs {
            status_file: Some(path.to_owned()),
            metrics_file: Some(path.to_owned()),
            ..outputs(dir.path())
        };
        write(&only, &snapshot("a"), &Heartbeat::default())
    };
    let kind = |path: &Path| std::fs::symlink_metadata(path).unwrap().file_type();
    for path in [
        &pipe,
        &folder,
        Path::new("/dev/full"),
        Path::new("/dev/zero"),
    ] {
        let before = kind(path);
        assert_eq!(write_to(path).len(), 2, "{}", path.display());
        assert_eq!(kind(path), before);
    }
    let null = Path::new("/dev/null");
    let before = kind(null);
    assert_eq!(write_to(null), Vec::<String>::new(), "it means off");
    assert_eq!(kind(null), before);
    let link = dir.path().join("link");
    std::os::unix::fs::symlink("/dev/full", &link).unwrap();
    write_to(&link);
    assert!(!std::fs::symlink_metadata("/dev/full").unwrap().is_file());
}

#[test]
fn a_writing_of_the_start_that_comes_late_replaces_nothing_newer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("status");
    let only = Outputs {
        metrics_file: None,
        ..outputs(dir.path())
    };
    let (end, hangs) = std::sync::mpsc::channel();
    let of_start = only.clone();
    let late = std::thread::spawn(move || {
        hangs.recv().unwrap();
        write(&of_start, &snapshot("of the start"), &Heartbeat::default());
    });
    let publisher = Publisher::start(Some(late)).unwrap();
    publisher.publish(&only, snapshot("newer"));
    while publisher.heartbeat().hanging(Duration::ZERO).is_none() {
        std::thread::yield_now();
    }
    assert!(!path.exists(), "it is waited for");
    end.send(()).unwrap();
    publisher.flush(FAR);
    let (_, credentials) = status_file::read(&path, |_| true).unwrap();
    assert_eq!(&*credentials[0].user, "newer");
}

#[test]
fn a_flush_gives_up_on_a_file_system_that_hangs() {
    // Nobody writes: as if the thread hung.
    let publisher = Publisher::default();
    publisher.publish(&Outputs::default(), snapshot("a"));
    publisher.flush(Duration::ZERO);
    assert!(publisher.latest().is_some());
}
