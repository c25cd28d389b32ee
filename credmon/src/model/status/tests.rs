use super::*;
use crate::model::fixtures::{at, credential, daemon};

fn good(query: &Query, credentials: Vec<CredentialStatus>) -> bool {
    query.answer(daemon(), credentials, at(1000)).good
}

#[test]
fn a_token_must_live_as_long_as_asked_and_be_renewed() {
    let now = Query::default();
    let later = Query {
        min_life: 1200,
        ..Query::default()
    };
    for (state, expires, is_good_now, is_good_later) in [
        (State::Fresh, 3600, true, true),
        (State::Renewing, 3600, true, true),
        (State::Degraded, 3600, true, true),
        (State::Degraded, 2199, true, false),
        (State::Fresh, 1000, false, false),
        (State::Dead, 3600, false, false),
    ] {
        let one = || vec![credential("u", state, expires)];
        assert_eq!(good(&now, one()), is_good_now, "{state} {expires}");
        assert_eq!(good(&later, one()), is_good_later, "{state} {expires}");
    }
    let mut none = credential("u", State::Renewing, 3600);
    none.access_token = None;
    assert!(!good(&now, vec![none]));
}

#[test]
fn only_what_is_asked_for_counts() {
    let all = || {
        vec![
            credential("a", State::Fresh, 3600),
            credential("b", State::Dead, 3600),
            credential("c", State::Ignored, 3600),
        ]
    };
    let about = |user: &str| Query {
        user: Some(user.to_owned()),
        ..Query::default()
    };
    assert!(good(&about("a"), all()));
    assert!(!good(&about("b"), all()));
    assert!(!good(&about("c"), all()), "its monitor answers for it");
    assert!(!good(&about("d"), all()), "there is none");
    assert!(!good(&Query::default(), all()));
    assert!(good(&Query::default(), Vec::new()));
    let without_b = all().into_iter().filter(|c| &*c.user != "b").collect();
    assert!(good(&Query::default(), without_b));
}

#[test]
fn a_daemon_that_ended_or_hangs_is_said() {
    let one = || vec![credential("a", State::Fresh, 99_999)];
    let ended = DaemonStatus {
        running: false,
        ..daemon()
    };
    let report = Query::default().answer(ended, one(), at(1001));
    assert!(!report.good && report.complaints[0].contains("not running"));
    let report = Query::default().answer(daemon(), one(), at(1181));
    assert!(!report.good && report.complaints[0].contains("does not seem to run"));
    assert!(report.credentials[0].usable);
    assert!(Query::default().answer(daemon(), one(), at(1180)).good);
}

#[test]
fn the_json_is_the_one_that_is_documented() {
    let report = Query::default().answer(
        daemon(),
        vec![credential("a", State::Fresh, 3600)],
        at(1000),
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "version": 1, "program": "x", "process": 1, "running": true,
            "written": "1970-01-01T00:16:40Z", "directory": "/c", "problem": null,
            "troubled_vaults": [], "more_troubled_vaults": 0, "count": 1, "good": true, "complaints": [],
            "credentials": [{
                "user": "a", "service": "cms", "state": "fresh",
                "since": "1970-01-01T00:00:00Z", "why": "", "advice": "",
                "vault": "vault.test",
                "access_token": {
                    "issued": "1970-01-01T00:00:00Z", "expires": "1970-01-01T01:00:00Z",
                    "id": "id-1", "issuer": null, "scopes": ["storage.read:/", "openid"],
                },
                "vault_token": {"expires": "1970-01-02T01:00:00Z"},
                "last_success": "1970-01-01T00:00:00Z",
                "next_renewal": "1970-01-01T00:20:00Z",
                "last_error": null,
                "access_token_left": 2600, "vault_token_left": 89000, "usable": true,
            }],
        })
    );
}
