use rustls::version::{TLS12, TLS13};
use tokio::io::duplex;

use super::fake::{Fake, Fashion, NAME, TOKEN};
use super::*;

const WITHIN: Duration = Duration::from_secs(30);
const COMMAND: i64 = 479;
/// Messages of a good daemon with TLS 1.3 until its verdict: its answer, two integers, two flights, the
/// challenge, its word on the token, the integer in the place of a key, the verdict.
const MESSAGES: usize = 9;

/// One authentication with a daemon; gives what came of it, and the client's messages in the method. The
/// daemon closes the connection when it is through with the client.
async fn with(
    fake: &Fake,
    name: &str,
    token: &str,
    buffer: usize,
) -> (Result<Session, Error>, Vec<(i64, usize)>) {
    let (ours, theirs) = duplex(buffer);
    let tls = fake.tls(name);
    let token = AccessToken::new(token.to_owned(), Duration::from_secs(30));
    let client = async {
        let mut stream = Stream::new(ours, Instant::now() + WITHIN);
        let terms = Terms {
            command: COMMAND,
            lifetime: Duration::from_mins(5),
            tls: &tls,
            token: &token,
        };
        authenticate(&mut stream, terms).await
    };
    let daemon = async {
        let mut talk = fake.talk(theirs);
        if let Ok(asked) = talk.asked().await {
            let _ = fake.authenticate(&mut talk, &asked).await;
        }
        talk.turns
    };
    tokio::join!(client, daemon)
}

async fn fails(fashion: Fashion, kind: ErrorKind, step: Step) {
    let fake = Fake::new(fashion, &TLS13);
    let (result, turns) = with(&fake, NAME, TOKEN, 1 << 16).await;
    let error = result.unwrap_err();
    assert_eq!(
        (error.kind(), error.step()),
        (kind, step),
        "{fashion:?}: {error}"
    );
    assert!(step != Step::Negotiate || turns.is_empty(), "{turns:?}");
    assert!(!format!("{error:?}").contains(TOKEN));
}

#[tokio::test]
async fn a_token_opens_a_daemon_with_either_tls() {
    for version in [&TLS12, &TLS13] {
        // Byte by byte, too.
        for buffer in [1, 1 << 16] {
            let fake = Fake::new(Fashion::Good, version);
            let (session, _) = with(&fake, NAME, TOKEN, buffer).await;
            let session = session.unwrap();
            assert_eq!(session.user(), "cmsprod@ap.test");
            let now = Instant::now();
            assert!(session.serves(COMMAND, now));
            assert!(!session.serves(60_000, now), "no valid command");
            assert!(
                !session.serves(COMMAND, now + Duration::from_secs(30)),
                "the token's end"
            );
            assert!(!format!("{session:?}").contains("the session"));
        }
    }
}

#[tokio::test]
async fn the_status_beside_the_token_is_4_and_nothing_follows_it() {
    for (version, handshake) in [(&TLS12, &[2, 2, 4][..]), (&TLS13, &[2, 4])] {
        for token in [TOKEN, "another token"] {
            let fake = Fake::new(Fashion::Good, version);
            let (_, turns) = with(&fake, NAME, token, 1 << 16).await;
            let statuses: Vec<i64> = turns.iter().map(|(status, _)| *status).collect();
            // The handshake; the challenge was read (4, empty); the token (4, a record).
            assert_eq!(statuses, [handshake, &[4, 4]].concat());
            let lengths: Vec<usize> = turns.iter().map(|(_, length)| *length).collect();
            let [.., read, record] = lengths.as_slice() else {
                panic!("{lengths:?}");
            };
            assert_eq!(*read, 0);
            // One record: its header, the length and the token, and what the cipher adds.
            assert!(
                (5 + 4 + token.len()..5 + 4 + token.len() + 32).contains(record),
                "{record}"
            );
        }
    }
}

#[tokio::test]
async fn no_weaker_daemon_gets_the_token() {
    use ErrorKind::{NoCommonMethod, TooWeak};
    for (name, value, kind) in [
        ("Authentication", "NO", TooWeak),
        ("Authentication", "", TooWeak),
        ("Encryption", "NO", TooWeak),
        ("Encryption", "", TooWeak),
        ("CryptoMethods", "BLOWFISH,3DES", TooWeak),
        ("CryptoMethods", "", TooWeak),
        ("ECDHPublicKey", "", TooWeak),
        ("AuthMethodsList", "FS,PASSWORD", NoCommonMethod),
        ("AuthMethodsList", "", NoCommonMethod),
    ] {
        fails(Fashion::Answer(name, value), kind, Step::Negotiate).await;
    }
    fails(Fashion::Method(0), NoCommonMethod, Step::Negotiate).await;
    fails(Fashion::Method(2), TooWeak, Step::Negotiate).await;
    // What it answers when its key does not fit its certificate.
    fails(
        Fashion::Lie(2, &[0xff; 8]),
        ErrorKind::NoTls,
        Step::Negotiate,
    )
    .await;
    let gives_up = &[0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0];
    fails(Fashion::Lie(3, gives_up), ErrorKind::NoTls, Step::Tls).await;
    let bad_key = Fashion::Answer("ECDHPublicKey", "AAAA");
    fails(bad_key, ErrorKind::BadAnswer, Step::Negotiate).await;
}

#[tokio::test]
async fn a_certificate_for_another_name_or_of_another_authority_is_refused() {
    let fake = Fake::new(Fashion::Good, &TLS13);
    let (result, turns) = with(&fake, "alias.test", TOKEN, 1 << 16).await;
    assert_eq!(result.unwrap_err().kind(), ErrorKind::WrongName);
    assert_eq!(turns.len(), 1, "no word after the certificate");
    let other = Fake::new(Fashion::Good, &TLS13);
    let mixed = Fake {
        config: std::sync::Arc::clone(&other.config),
        ..fake
    };
    let (result, _) = with(&mixed, NAME, TOKEN, 1 << 16).await;
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Untrusted);
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let fake = Fake::new(Fashion::Good, &TLS13);
    let (refused, _) = with(&fake, NAME, "another token", 1 << 16).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::TokenRefused);
    let (empty, _) = with(&fake, NAME, "", 1 << 16).await;
    assert_eq!(empty.unwrap_err().kind(), ErrorKind::BadValue);
    for (verdict, kind) in [
        ("DENIED", ErrorKind::Denied),
        ("CMD_NOT_FOUND", ErrorKind::UnknownCommand),
        ("SID_NOT_FOUND", ErrorKind::UnknownSession),
        ("else", ErrorKind::BadAnswer),
    ] {
        fails(Fashion::Verdict(verdict), kind, Step::Authorize).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_stalls_at_any_step_holds_nothing_beyond_the_deadline() {
    for message in 0..MESSAGES {
        let begun = Instant::now();
        let fake = Fake::new(Fashion::Silent(message), &TLS13);
        let (result, _) = with(&fake, NAME, TOKEN, 1 << 16).await;
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{message}: {error}");
        assert_eq!(begun.elapsed().as_secs(), WITHIN.as_secs(), "{message}");
    }
}

#[tokio::test]
async fn a_daemon_that_hangs_up_or_lies_at_any_step_is_an_error_of_that_step() {
    for message in 0..MESSAGES {
        let fake = Fake::new(Fashion::Closed(message), &TLS13);
        let (result, _) = with(&fake, NAME, TOKEN, 1 << 16).await;
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::HungUp, "{message}: {error}");
        for lie in [
            &[0xff_u8][..],
            &[0xff; 8],
            &[0xff; 100],
            &[0x7f; 16],
            &[
                0, 0, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            ],
            &[0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3],
        ] {
            let fake = Fake::new(Fashion::Lie(message, lie), &TLS13);
            let (result, _) = with(&fake, NAME, TOKEN, 1 << 16).await;
            // The word on the token has no bytes that would have to be right.
            let is_no_lie = message == 6 && lie.len() == 19;
            assert_eq!(result.is_ok(), is_no_lie, "{message}: {lie:?}");
        }
    }
}
