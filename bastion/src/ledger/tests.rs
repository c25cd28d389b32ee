//! What the ledger keeps, and what becomes of it on disk.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use htvault::VaultToken;
use proptest::prelude::*;

use super::*;
use crate::fixtures::credential;
use crate::fixtures::id;
use crate::plan::Life;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn held(name: &str, expires: i64) -> Held {
    Held {
        token: VaultToken::from(format!("s.secret-{name}")),
        parent: Some(VaultToken::from(format!("s.secret-login-{name}"))),
        accessor: name.to_owned(),
        life: Life {
            issued: at(0),
            expires: at(expires),
        },
    }
}

fn note(current: i64, other: i64) -> Note {
    let tokens = Tokens {
        current: Some((held("current", current), Some(at(3)))),
        former: vec![held("former", other)],
        ..Tokens::default()
    };
    Note::of(&credential("cmsprod", "cms"), &tokens, Some(2400))
}

#[test]
fn what_was_saved_is_read_again_and_holds_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("made/when/missing");
    let mut ledger = file::load(&state);
    assert!(ledger.is_empty(), "a first start");
    ledger.set(&id("cmsprod"), note(100, 50), at(10));
    assert!(ledger.take_changed());
    file::save(&state, &ledger.to_bytes()).unwrap();

    let text = fs::read_to_string(state.join("deliveries.json")).unwrap();
    assert!(!text.contains("s.secret"), "{text}");
    assert!(text.contains("\"accessor\":\"former\""), "{text}");
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(state.join("deliveries.json")), 0o600);
    let again = file::load(&state);
    assert_eq!(again.get(&id("cmsprod")), Some(&note(100, 50)));
}

#[test]
fn a_broken_file_is_set_aside_and_nothing_is_lost_to_people() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deliveries.json");
    for text in [
        "",
        "{",
        "\0\0\0",
        "{\"version\":99,\"deliveries\":[]}",
        "[]",
    ] {
        fs::write(&path, text).unwrap();
        assert!(file::load(folder.path()).is_empty());
        assert!(!path.exists());
        let aside = fs::read_to_string(folder.path().join("deliveries.json.broken")).unwrap();
        assert_eq!(aside, text);
    }
}

#[test]
fn a_save_that_fails_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    file::save(folder.path(), &Ledger::default().to_bytes()).unwrap();
    // Something that cannot be removed like a file stands where the new one is written.
    fs::create_dir(folder.path().join(".deliveries.json.new")).unwrap();
    let mut ledger = Ledger::default();
    ledger.set(&id("cmsprod"), note(100, 50), at(10));
    assert!(file::save(folder.path(), &ledger.to_bytes()).is_err());
    assert!(file::load(folder.path()).is_empty());
    assert!(folder.path().join("deliveries.json").exists());
}

#[test]
fn a_token_is_named_until_its_life_is_over() {
    let mut ledger = Ledger::default();
    ledger.set(&id("cmsprod"), note(100, 50), at(10));
    assert!(ledger.take_changed());
    ledger.set(&id("cmsprod"), note(100, 50), at(11));
    ledger.drop_ended(at(49));
    assert!(!ledger.take_changed(), "nothing new");
    ledger.drop_ended(at(50));
    assert!(ledger.take_changed());
    let left = ledger.get(&id("cmsprod")).unwrap();
    assert!(left.others.is_empty() && left.current.is_some());
    ledger.drop_ended(at(100));
    assert!(ledger.is_empty() && ledger.take_changed());
}

#[test]
fn another_content_asks_for_something_else() {
    let plain = credential("cmsprod", "cms");
    let mut reduced = plain.clone();
    reduced.scopes = vec!["storage.read:/".to_owned()];
    let mut aimed = plain.clone();
    aimed.audience = Some("https://any".to_owned());
    let all = [asks(&plain), asks(&reduced), asks(&aimed)];
    assert_eq!(
        all[1],
        "https://vault.test:8200/v1/secret/oauth/creds/cms/cmsprod:default scopes=storage.read:/"
    );
    assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2]);
}

proptest! {
    /// However often tokens come and go, a note stays small and keeps those that live longest.
    #[test]
    fn a_note_does_not_grow(ends in prop::collection::vec(1_i64..10_000, 0..200)) {
        let tokens = Tokens {
            former: ends.iter().map(|end| held(&format!("t{end}"), *end)).collect(),
            ..Tokens::default()
        };
        let note = Note::of(&credential("cmsprod", "cms"), &tokens, None);
        prop_assert!(note.others.len() <= MOST_OTHERS);
        if let Some(longest) = ends.iter().max() {
            prop_assert_eq!(note.others[0].expires, at(*longest));
        }
    }
}
