//! The directory itself: gone, opened to others, another one; its own files; the scanner's thread.

use super::*;
use crate::fakes::set_mode;

#[test]
fn a_directory_that_vanishes_makes_nothing_disappear_and_is_served_again_when_it_is_back() {
    let mut f = Fixture::new();
    f.credentials.store("u", "cms", "a", "s.1");
    f.scan();
    let aside = f.credentials.path().with_extension("aside");
    fs::rename(f.credentials.path(), &aside).unwrap();
    assert_eq!(f.scan(), Vec::<String>::new(), "nothing is gone");
    assert!(matches!(
        f.directory,
        Some(Err(DirectoryError::Gone { .. }))
    ));
    assert!(f.report.problems[0].contains("is gone"), "{:?}", f.report);
    assert!(!f.credentials.path().exists(), "it is not made anew");
    fs::rename(&aside, f.credentials.path()).unwrap();
    assert_eq!(f.scan(), Vec::<String>::new(), "nothing has changed");
    assert_eq!(f.directory, Some(Ok(())));
    assert!(f.report.problems.is_empty(), "{:?}", f.report);
    f.credentials.store("u", "cms", "a", "s.2");
    assert_eq!(f.scan(), ["u/cms"]);
}

/// Puts a link to itself in the place of the directory: opening that fails, and not because it is gone. Returns both
/// paths.
fn hinder(f: &Fixture) -> (PathBuf, PathBuf) {
    let path = f.credentials.path().to_owned();
    let aside = path.with_extension("aside");
    fs::rename(&path, &aside).unwrap();
    symlink(&path, &path).unwrap();
    (path, aside)
}

/// Puts the directory back.
fn clear((path, aside): (PathBuf, PathBuf)) {
    fs::remove_file(&path).unwrap();
    fs::rename(aside, path).unwrap();
}

#[test]
fn an_error_that_may_pass_leaves_the_directory_open_and_is_followed_by_a_scan_soon() {
    let mut f = Fixture::new();
    f.credentials.store("u", "cms", "a", "s.1");
    assert_eq!(f.scanner.scan_all(|_| true), RESCAN);
    f.take();
    f.directory = None;
    let hindered = hinder(&f);
    assert_eq!(f.scanner.scan_all(|_| true), RETRY);
    assert_eq!(f.take(), Vec::<String>::new());
    assert_eq!(f.directory, None, "nothing new is reported of it");
    let problem = &f.report.problems[0];
    assert!(problem.contains("cannot be used: opening it"), "{problem}");
    clear(hindered);
    assert_eq!(f.scanner.scan_all(|_| true), RESCAN);
    f.take();
    assert_eq!(f.directory, Some(Ok(())));
    assert!(f.report.problems.is_empty(), "{:?}", f.report);
}

#[test]
fn a_directory_that_cannot_be_opened_at_the_start_is_tried_again_soon() {
    let mut f = Fixture::new();
    let hindered = hinder(&f);
    assert_eq!(f.scanner.scan_all(|_| true), RETRY);
    f.take();
    assert!(matches!(
        f.directory,
        Some(Err(DirectoryError::System { .. }))
    ));
    clear(hindered);
}

#[test]
fn another_directory_in_its_place_is_served_from_then_on() {
    let mut f = Fixture::new();
    f.credentials.store("u", "cms", "a", "s.1");
    f.credentials.store("u", "dune", "a", "s.1");
    f.scan();
    let aside = f.credentials.path().with_extension("aside");
    fs::rename(f.credentials.path(), &aside).unwrap();
    fs::create_dir(f.credentials.path()).unwrap();
    set_mode(f.credentials.path(), 0o2770);
    f.credentials.store("u", "cms", "a", "s.2");
    let mut changes = f.scan();
    changes.sort();
    assert_eq!(changes, ["-u/dune", "u/cms"]);
    assert!(f.credentials.path().join("pid").exists());
    fs::remove_dir_all(aside).unwrap();
}

#[test]
fn the_mode_of_the_served_directory_is_a_warning_and_stops_nothing() {
    let mut f = Fixture::new();
    f.scan();
    set_mode(f.credentials.path(), 0o2771);
    f.credentials.store("u", "cms", "a", "s.1");
    assert_eq!(f.scan(), ["u/cms"]);
    assert!(f.report.problems[0].contains("mode 2771"), "{:?}", f.report);
    set_mode(f.credentials.path(), 0o2770);
    f.scan();
    assert!(f.report.problems.is_empty(), "{:?}", f.report);
}

#[test]
fn a_second_daemon_on_the_same_directory_is_reported_and_a_guest_is_not() {
    let mut first = Fixture::new();
    first.scan();
    let scan_too = |is_guest| {
        let (observations, mut observed) = unbounded_channel();
        let path = Some(first.credentials.path().to_owned());
        let clock = Arc::new(SystemClock);
        let mut scanner = Scanner::new(path, is_guest, observations, clock);
        scanner.scan_all(|_| true);
        let mut problems = Vec::new();
        while let Ok(observation) = observed.try_recv() {
            if let Observation::Scanned(report) = observation {
                problems = report.problems;
            }
        }
        problems
    };
    assert_eq!(scan_too(true), Vec::<String>::new());
    assert!(scan_too(false)[0].contains("another condor_credmon_htvault"));
    first.scan();
    assert!(first.report.problems.is_empty(), "the first goes on");
}

#[test]
fn nothing_is_configured_or_another_directory_is() {
    let mut f = Fixture::new();
    f.credentials.store("u", "cms", "a", "s.1");
    f.scan();
    let use_directory = |f: &mut Fixture, path: Option<PathBuf>| {
        let mut pending = Pending::default();
        pending.add(Wake::Use(path));
        f.scanner.handle(&mut pending);
        // The scan comes next, which looks at what else is asked for.
        let gone = f.take();
        assert!(gone.iter().all(|id| id.starts_with('-')), "{gone:?}");
        if std::mem::take(&mut pending.all) {
            f.scanner.scan_all(|_| true);
        }
        let far = Instant::now() + RESCAN;
        assert_eq!(pending.next(far), far, "nothing is left to do");
        [gone, f.take()].concat()
    };
    assert_eq!(use_directory(&mut f, None), ["-u/cms"]);
    assert_eq!(f.directory, Some(Err(DirectoryError::NotConfigured)));
    assert!(!f.credentials.path().join("pid").exists());
    let other = Credentials::new();
    other.store("v", "cms", "a", "s.1");
    let path = Some(other.path().to_owned());
    assert_eq!(use_directory(&mut f, path.clone()), ["v/cms"]);
    assert!(other.path().join("pid").exists());
    assert_eq!(use_directory(&mut f, path), Vec::<String>::new());
    let path = Some(f.credentials.path().to_owned());
    assert_eq!(use_directory(&mut f, path), ["-v/cms", "u/cms"]);
}

#[test]
fn a_scan_that_hangs_is_reported_of_the_directory_that_is_used_now() {
    let mut f = Fixture::new();
    f.credentials.store("u", "cms", "a", "s.1");
    let heartbeat = f.scanner.heartbeat.clone();
    let _working = heartbeat.start(Path::new("/the/old/one"));
    let mut at = None;
    f.scanner.scan_all(|_| {
        at = heartbeat.hanging(Duration::ZERO);
        true
    });
    assert_eq!(at, Some(f.credentials.path().display().to_string()));
}

#[test]
fn the_thread_scans_marks_the_pass_complete_and_ends_when_told_to() {
    let credentials = Credentials::new();
    credentials.store("u", "cms", "a", "s.1");
    let at = |name: &str| credentials.path().join(name);
    fs::write(at("CREDMON_COMPLETE"), "of an earlier run").unwrap();
    let (to_scanner, wakes) = wakes().unwrap();
    let (observations, mut observed) = unbounded_channel();
    let path = Some(credentials.path().to_owned());
    let scanner = Scanner::new(path, false, observations, Arc::new(SystemClock));
    let heartbeat = scanner.heartbeat.clone();
    let thread = std::thread::spawn(move || scanner.run(&wakes));
    let mut next = |wanted: fn(&Observation) -> bool| {
        while !wanted(&observed.blocking_recv().unwrap()) {}
    };
    next(|found| matches!(found, Observation::Scanned(_)));
    assert!(at("pid").exists() && !at("CREDMON_COMPLETE").exists());
    // No wake of ours: the watch tells.
    credentials.store("v", "cms", "a", "s.1");
    next(|found| matches!(found, Observation::Changed(o) if &**o.top.id.user() == "v"));
    to_scanner.send(Wake::Complete);
    to_scanner.send(Wake::ScanAll);
    next(|found| matches!(found, Observation::Scanned(_)));
    to_scanner.send(Wake::Stop);
    thread.join().unwrap();
    assert!(at("CREDMON_COMPLETE").exists() && !at("pid").exists());
    assert_eq!(heartbeat.hanging(Duration::ZERO), None);
}
