//! Lines, levels, rotation, and files that cannot be written.

use jiff::Timestamp;

use super::*;

/// Far above what a thread needs to write a line.
const FAR: Duration = Duration::from_mins(1);

#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        "2026-11-22T04:18:29Z".parse().unwrap()
    }
}

fn logged(detail: Detail, act: impl FnOnce()) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let (mut log, _) = Log::start(Some(&path), false, Arc::new(Still)).unwrap();
    log.zone = TimeZone::UTC;
    let subscriber = tracing_subscriber::registry().with(log.clone().with_filter(filter(detail)));
    tracing::subscriber::with_default(subscriber, act);
    log.flush(FAR);
    assert_eq!((log.problem(), log.dropped()), (None, 0));
    std::fs::read_to_string(path).unwrap()
}

fn all_levels() {
    for level in [
        Level::Info,
        Level::Warning,
        Level::Error,
        Level::Renewal,
        Level::Debug,
    ] {
        event(&Event::new(level, "words"));
    }
}

#[test]
fn lines_are_as_htcondor_writes_them() {
    let text = logged(Detail::default(), || {
        all_levels();
        tracing::info!(n = 1, "text");
    });
    assert_eq!(
        text,
        "11/22/26 04:18:29 words\n\
         11/22/26 04:18:29 WARNING: words\n\
         11/22/26 04:18:29 ERROR: words\n\
         11/22/26 04:18:29 text n=1\n"
    );
}

#[test]
fn whatever_a_text_holds_it_is_one_line_of_bounded_length() {
    let text = logged(Detail::default(), || {
        tracing::info!("a\nb\x1b[2J\u{202e}{}", "x".repeat(1_000_000));
    });
    assert_eq!(text.lines().count(), 1);
    assert!(text.chars().count() < LINE_LIMIT + 50, "{}", text.len());
    assert!(!text.trim_end().chars().any(char::is_control));
}

#[test]
fn verbose_adds_renewals_and_debug_adds_all() {
    let count = |renewals, debug| {
        let text = logged(Detail { renewals, debug }, all_levels);
        text.lines().count()
    };
    assert_eq!(count(false, false), 3);
    assert_eq!(count(true, false), 4);
    assert_eq!(count(false, true), 5);
}

fn output(path: &Path, file: File) -> Output {
    Output {
        path: Some(path.to_owned()),
        file: Some(file),
        terminal: false,
    }
}

#[test]
fn a_rotated_or_removed_file_is_opened_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut output = output(&path, open(&path).unwrap());
    let good = |output: &mut Output, line| assert!(output.write(line).error.is_none(), "{line}");
    good(&mut output, "old\n");
    std::fs::rename(&path, dir.path().join("old")).unwrap();
    good(&mut output, "new\n");
    good(&mut output, "too\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "new\ntoo\n");
    // Where it cannot be opened, the old one goes on: no line is lost.
    let old = dir.path().join("old");
    std::fs::rename(&path, &old).unwrap();
    std::fs::create_dir(&path).unwrap();
    let Written { is_lost, error } = output.write("aside\n");
    let error = error.unwrap().to_string();
    assert!(error.contains("directory") && !is_lost, "{error}");
    assert!(std::fs::read_to_string(old).unwrap().ends_with("aside\n"));
    std::fs::remove_dir(&path).unwrap();
    good(&mut output, "last\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "last\n");
}

#[test]
fn what_is_no_plain_file_is_refused_without_a_hang_and_the_null_device_means_off() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in [&pipe, Path::new("/dev/full"), dir.path()] {
        assert!(open(path).is_err(), "{}", path.display());
    }
    let (log, _) = Log::start(Some("/dev/null".as_ref()), false, Arc::new(Still)).unwrap();
    log.write("a line\n".to_owned());
    log.flush(FAR);
    assert_eq!((log.problem(), log.dropped()), (None, 0));
}

#[test]
fn a_full_disk_is_a_problem_until_lines_are_written_again() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let state = Mutex::new(LogState::default());
    let run = |path: &Path, file: File| {
        let (lines, received) = sync_channel(2);
        lines.send(Line::Text("a line\n".to_owned())).unwrap();
        drop(lines);
        output(path, file).run(&received, &state, &Heartbeat::default());
    };
    run("/nowhere/log".as_ref(), full);
    let error = state.lock().unwrap().error.clone().unwrap();
    assert!(
        error.contains("/nowhere/log") && error.contains("No space left"),
        "{error}"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    run(file.path(), open(file.path()).unwrap());
    let state = state.lock().unwrap();
    assert_eq!((&state.error, state.dropped), (&None, 1));
}

#[test]
fn lines_that_find_no_room_are_counted_and_delay_nobody() {
    let (lines, _never_read) = sync_channel(1);
    let log = Log {
        lines,
        state: Arc::default(),
        heartbeat: Heartbeat::default(),
        clock: Arc::new(Still),
        zone: TimeZone::UTC,
    };
    for _ in 0..5 {
        log.write("a line\n".to_owned());
    }
    assert_eq!(log.dropped(), 4);
    log.flush(FAR);
}

#[test]
fn a_log_that_cannot_be_opened_says_so_and_is_opened_later() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("folder/log");
    let (log, opened) = Log::start(Some(&path), false, Arc::new(Still)).unwrap();
    assert!(opened.blocking_recv().unwrap().is_err());
    log.write("lost\n".to_owned());
    log.flush(FAR);
    assert!(log.problem().unwrap().contains("No such file or directory"));
    std::fs::create_dir(dir.path().join("folder")).unwrap();
    log.write("a line\n".to_owned());
    log.flush(FAR);
    assert_eq!((log.problem(), log.dropped()), (None, 1));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a line\n");
}
