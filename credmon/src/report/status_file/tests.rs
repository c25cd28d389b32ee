//! What is written is read back, and nothing else is believed.

use super::*;
use crate::model::State;
use crate::model::fixtures::{at, credential, daemon};

fn snapshot(credentials: Vec<CredentialStatus>) -> Snapshot {
    Snapshot {
        daemon: DaemonStatus {
            count: credentials.len(),
            ..daemon()
        },
        credentials: std::sync::Arc::new(credentials),
        started: at(1),
        scanned: None,
        watched_folders: 0,
        renewals: crate::model::Renewals::new(),
        lines_dropped: 0,
    }
}

#[test]
fn what_is_written_is_read_back_and_half_of_it_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("status");
    let mut odd = credential("b", State::Dead, 1);
    odd.why = "a\nb \"c\" é".into();
    odd.access_token = None;
    let snapshot = snapshot(vec![credential("a", State::Fresh, 1), odd.clone()]);
    let mut bytes = Vec::new();
    write(&mut bytes, &snapshot).unwrap();
    std::fs::write(&path, &bytes).unwrap();
    let (daemon, some) = read(&path, |c| &*c.user == "b").unwrap();
    assert_eq!((daemon, some), (snapshot.daemon, vec![odd]));
    for cut in [0, 1, bytes.len() / 2, bytes.len() - 2] {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        assert!(read(&path, |_| true).is_err(), "{cut} bytes of it");
    }
    std::fs::write(&path, [bytes.as_slice(), b"{}\n"].concat()).unwrap();
    assert!(read(&path, |_| true).is_err(), "more than it says");
}

#[test]
fn the_longest_texts_that_are_kept_can_be_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("status");
    let long: std::sync::Arc<str> = "\u{1}\u{10ffff}".repeat(crate::model::TEXT_LIMIT).into();
    let mut odd = credential("a", State::Degraded, 1);
    (odd.why, odd.advice) = (long.clone(), long.to_string().into());
    odd.access_token.as_mut().unwrap().scopes = long.repeat(4).into();
    odd.last_error = Some(Box::new(crate::model::LastError {
        at: at(1),
        text: long,
    }));
    let mut bytes = Vec::new();
    write(&mut bytes, &snapshot(vec![odd.clone()])).unwrap();
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(read(&path, |_| true).unwrap().1, [odd]);
}

#[test]
fn a_pipe_or_endless_device_in_its_place_is_refused_without_a_hang() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in [&pipe, Path::new("/dev/zero"), dir.path()] {
        assert!(read(path, |_| true).is_err(), "{}", path.display());
    }
    let line = dir.path().join("line");
    std::fs::write(&line, vec![b'{'; 1_000_000]).unwrap();
    assert!(read(&line, |_| true).is_err());
}
