use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::version::TLS13;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::crypto::{KeyPair, SessionKey};
use crate::error::ErrorKind;
use crate::handshake::fake::{Fake, Fashion, NAME, Over, TOKEN, Talk};
use crate::packet::Fault;
use crate::wire::Form;

const WITHIN: Duration = Duration::from_secs(30);
const SHARED_PORT_ID: &str = "credd_1_2";

/// Answer of a credd to those who want to resume a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resumption {
    Good,
    /// It answers the command late.
    Slow,
    Forgotten,
    Closed,
    Silent,
    /// It says yes, and has another key.
    WrongKey,
}

/// A credd behind a shared port, which stores nothing.
struct FakeCredd {
    fake: Fake,
    resumption: Resumption,
    code: i64,
    key: Mutex<Option<SessionKey>>,
    full: AtomicUsize,
}

impl FakeCredd {
    async fn start(resumption: Resumption, code: i64) -> (Arc<Self>, Credd) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        let credd = Arc::new(Self {
            fake: Fake::new(Fashion::Good, &TLS13),
            resumption,
            code,
            key: Mutex::new(None),
            full: AtomicUsize::new(0),
        });
        let server = Arc::clone(&credd);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let server = Arc::clone(&server);
                tokio::spawn(async move { server.serve(connection).await });
            }
        });
        let address = format!("<{place}?sock={SHARED_PORT_ID}>").parse().unwrap();
        let token = AccessToken::new(TOKEN.to_owned(), Duration::from_mins(5));
        let client = Credd::new(address, credd.fake.tls(NAME), token);
        (credd, client)
    }

    async fn serve(&self, connection: TcpStream) -> Result<(), Over> {
        // The shared port reads its message and hands the connection over.
        let mut talk = self.fake.talk(connection);
        let message = talk.receive().await?;
        let mut decoder = message.decoder();
        assert_eq!(decoder.integer()?, 75);
        assert_eq!(decoder.string()?, SHARED_PORT_ID.as_bytes());
        talk.stream.begin_anew();
        let asked = talk.asked().await?;
        if asked.string("UseSession") == Some("YES") {
            self.resume(&mut talk).await?;
        } else {
            self.full.fetch_add(1, Ordering::Relaxed);
            let key = self.fake.authenticate(&mut talk, &asked).await?;
            *self.key.lock().unwrap() = Some(key);
        }
        let message = talk.receive().await?;
        let mut decoder = message.decoder();
        let user = decoder.string()?;
        assert!(user.is_empty() || user == b"cmsprod@ap.test", "{user:?}");
        assert_eq!(decoder.string()?, b"");
        decoder.integer()?;
        let length = decoder.length()?;
        decoder.raw(length)?;
        let ad = Ad::decode(&mut decoder)?;
        assert!(decoder.is_at_end());
        let service = ad.string("Service").unwrap_or_default();
        if self.resumption == Resumption::Slow {
            tokio::time::sleep(Duration::from_secs(4)).await;
        }
        let mut answer = talk.stream.encoder();
        answer.integer(self.code);
        let mut times = Ad::new();
        times.set(&format!("Top{service}Time"), 1000);
        times.set(service, 2000);
        times.encode(&mut answer)?;
        talk.send(answer).await
    }

    async fn resume(&self, talk: &mut Talk<TcpStream>) -> Result<(), Over> {
        let mut ad = Ad::new();
        ad.set("ReturnCode", "AUTHORIZED");
        let key = match self.resumption {
            Resumption::Closed => return Err(Over),
            Resumption::Silent => {
                talk.receive().await?;
                return Err(Over);
            }
            Resumption::Forgotten => {
                ad.set("ReturnCode", "SID_NOT_FOUND");
                None
            }
            Resumption::Good | Resumption::Slow => self.key.lock().unwrap().clone(),
            Resumption::WrongKey => {
                let [a, b] = [(); 2].map(|()| KeyPair::generate().unwrap());
                a.agree(b.public()).ok()
            }
        };
        talk.send_ad(&ad).await?;
        talk.stream.encrypt(&key.ok_or(Over)?)?;
        Ok(())
    }

    fn authentications(&self) -> usize {
        self.full.load(Ordering::Relaxed)
    }
}

fn cms() -> Credential {
    Credential {
        account: Some("cmsprod".to_owned()),
        ..Credential::new("cms")
    }
}

#[tokio::test]
async fn the_second_operation_resumes_the_session_of_the_first() {
    let (server, credd) = FakeCredd::start(Resumption::Good, 1).await;
    let stored = credd.store(&cms(), b"{}", WITHIN).await.unwrap();
    assert_eq!((stored.outcome, stored.resumed), (Stored::Stored, false));
    let done = credd.query(&cms(), WITHIN).await.unwrap();
    let times = Times {
        stored: Some(1000),
        used: Some(2000),
    };
    assert_eq!((done.outcome, done.resumed), (Some(times), true));
    assert_eq!(done.user, "cmsprod@ap.test");
    assert_eq!(done.version, "$CondorVersion: fake $");
    assert!(credd.delete(&cms(), WITHIN).await.unwrap().resumed);
    assert_eq!(server.authentications(), 1);
    assert!(!format!("{credd:?}").contains(TOKEN));
}

#[tokio::test]
async fn many_may_use_one_credd_at_a_time() {
    let (_server, credd) = FakeCredd::start(Resumption::Good, 1).await;
    let credd = Arc::new(credd);
    let all = (0..20).map(|_| {
        let credd = Arc::clone(&credd);
        tokio::spawn(async move { credd.query(&cms(), WITHIN).await })
    });
    for one in all.collect::<Vec<_>>() {
        one.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn any_failed_resumption_is_a_full_authentication() {
    for resumption in [
        Resumption::Forgotten,
        Resumption::Closed,
        Resumption::WrongKey,
    ] {
        let (server, credd) = FakeCredd::start(resumption, 1).await;
        for _ in 0..2 {
            let done = credd.query(&cms(), WITHIN).await.unwrap();
            assert!(!done.resumed, "{resumption:?}");
        }
        assert_eq!(server.authentications(), 2, "{resumption:?}");
    }
}

#[tokio::test]
async fn a_resumption_that_stalls_leaves_time_for_a_full_authentication() {
    let (server, credd) = FakeCredd::start(Resumption::Silent, 1).await;
    // Real time: half of this passes, and what comes after needs little of the other half.
    let within = Duration::from_secs(4);
    for _ in 0..2 {
        assert!(!credd.query(&cms(), within).await.unwrap().resumed);
    }
    assert_eq!(server.authentications(), 2);
}

#[tokio::test]
async fn a_command_in_a_session_has_all_of_the_time() {
    let (server, credd) = FakeCredd::start(Resumption::Slow, 1).await;
    // Real time: more than half of it passes until a command is answered.
    let within = Duration::from_secs(7);
    for resumed in [false, true, true] {
        assert_eq!(credd.query(&cms(), within).await.unwrap().resumed, resumed);
    }
    assert_eq!(server.authentications(), 1);
}

#[tokio::test]
async fn no_time_is_too_long() {
    let (_server, credd) = FakeCredd::start(Resumption::Good, 1).await;
    for resumed in [false, true] {
        let done = credd.query(&cms(), Duration::MAX).await.unwrap();
        assert_eq!(done.resumed, resumed);
    }
}

#[tokio::test]
async fn each_address_is_tried_and_named_with_its_failure() {
    let (_server, good) = FakeCredd::start(Resumption::Good, 1).await;
    let port = good.address().port();
    let at = |addresses: &str| {
        let address = format!("<127.0.0.1:1?addrs={addresses}&sock={SHARED_PORT_ID}>");
        Credd {
            address: address.parse().unwrap(),
            tls: good.tls.clone(),
            token: AccessToken::new(TOKEN.to_owned(), WITHIN),
            lifetime: LIFETIME,
            session: Mutex::new(None),
        }
    };
    let second = at(&format!("127.0.0.1-1+127.0.0.1-{port}"));
    second.query(&cms(), WITHIN).await.unwrap();
    let none = at("127.0.0.1-1+127.0.0.1-2");
    let error = none.query(&cms(), WITHIN).await.unwrap_err();
    for part in ["127.0.0.1:1: ", ", 127.0.0.1:2: "] {
        assert!(error.message().contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_session_of_no_lifetime_is_not_resumed() {
    let (server, credd) = FakeCredd::start(Resumption::Good, 1).await;
    let credd = credd.with_session_lifetime(Duration::ZERO);
    for _ in 0..2 {
        credd.query(&cms(), WITHIN).await.unwrap();
    }
    assert_eq!(server.authentications(), 2);
}

#[tokio::test]
async fn result_codes_are_outcomes_or_errors_with_advice() {
    for (code, expected) in [
        (1, Stored::Stored),
        (6, Stored::Pending),
        (
            1_795_967_151,
            Stored::Serving {
                since: 1_795_967_151,
            },
        ),
    ] {
        let (_server, credd) = FakeCredd::start(Resumption::Good, code).await;
        let stored = credd.store(&cms(), b"{}", WITHIN).await.unwrap();
        assert_eq!(stored.outcome, expected);
    }
    for (code, refusal) in [
        (0, Refusal::Failed),
        (5, Refusal::NotFound),
        (7, Refusal::NotAllowed),
        (14, Refusal::UntrustedVault),
        (-1, Refusal::Other(-1)),
        (99, Refusal::Other(99)),
    ] {
        let (_server, credd) = FakeCredd::start(Resumption::Good, code).await;
        let error = credd.store(&cms(), b"{}", WITHIN).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.step()),
            (ErrorKind::Credd(refusal), Step::Command)
        );
        assert!(error.message().contains("cmsprod@ap.test"), "{error}");
        assert!(!error.advice().is_empty());
    }
    let (_server, credd) = FakeCredd::start(Resumption::Good, 5).await;
    assert_eq!(credd.query(&cms(), WITHIN).await.unwrap().outcome, None);
    credd.delete(&cms(), WITHIN).await.unwrap();
}

#[tokio::test]
async fn what_no_credd_takes_is_refused_before_a_connection() {
    let nowhere = "127.0.0.1:1".parse().unwrap();
    let tls = Fake::new(Fashion::Good, &TLS13).tls(NAME);
    let token = AccessToken::new(TOKEN.to_owned(), WITHIN);
    let credd = Credd::new(nowhere, tls, token);
    let long = vec![b'x'; 1 << 20];
    let with_scopes = |scopes: String| Credential {
        scopes: Some(scopes),
        ..cms()
    };
    for (credential, secret) in [
        (Credential::new(""), &b"{}"[..]),
        (Credential::new("../x"), b"{}"),
        (Credential::new("a/b"), b"{}"),
        (
            Credential {
                account: Some(String::new()),
                ..cms()
            },
            b"{}",
        ),
        (
            Credential {
                account: Some("a\0b".to_owned()),
                ..cms()
            },
            b"{}",
        ),
        (with_scopes("a\nb".to_owned()), b"{}"),
        (with_scopes("x".repeat(1 << 20)), b"{}"),
        (cms(), b""),
        (cms(), &long),
    ] {
        let error = credd.store(&credential, secret, WITHIN).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadValue, "{error}");
    }
    let error = credd.query(&cms(), WITHIN).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.step()),
        (ErrorKind::Unreachable, Step::Connect)
    );
}

#[test]
fn a_text_that_would_not_be_one_line_is_not_sent() {
    let credential = Credential {
        scopes: Some("a\nB = 1".to_owned()),
        ..cms()
    };
    let request = Request::new(&credential, Mode::Query, &[]);
    assert!(matches!(
        request.message(Form::Encrypted, "a@b"),
        Err(Fault::NotSent(_))
    ));
}
