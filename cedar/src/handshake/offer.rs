//! Ads of a negotiation: what is asked for, and what of an answer is acceptable.

use std::time::Duration;

use crate::classad::Ad;
use crate::error::{Error, ErrorKind, Step};

/// Version that is shown to daemons: theirs choose by it what they send (9.9 or later for what is here).
const VERSION: &str = "$CondorVersion: 25.14.1 2026-10-16 $";
const METHOD: &str = "SCITOKENS";
const CIPHER: &str = "AES";

/// Terms that both sides agree on.
pub(super) struct Agreed {
    /// The daemon's half of the key agreement, as in its ad.
    pub(super) public_key: String,
    /// The session's lifetime: the shorter of what each side wants.
    pub(super) lifetime: Duration,
}

/// Asks for an authentication by token, encryption and a new session.
pub(super) fn full(command: i64, lifetime: Duration, public_key: &str) -> Ad {
    offer(command, lifetime, public_key, ["REQUIRED"; 2])
}

/// Asks for encryption where the daemon has it, and for no authentication.
pub(super) fn anonymous(command: i64, public_key: &str) -> Ad {
    offer(command, Duration::ZERO, public_key, ["NEVER", "OPTIONAL"])
}

/// A negotiation of authentication and encryption at these levels.
fn offer(command: i64, lifetime: Duration, public_key: &str, levels: [&str; 2]) -> Ad {
    let [authentication, encryption] = levels;
    let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
    let mut ad = Ad::new();
    ad.set("Command", command);
    ad.set("AuthMethods", METHOD);
    ad.set("CryptoMethods", CIPHER);
    // Daemons before 23.10 read the first name, later ones the second.
    ad.set("Authentication", authentication);
    ad.set("AuthenticationNew", authentication);
    ad.set("Encryption", encryption);
    ad.set("Integrity", encryption);
    ad.set("OutgoingNegotiation", "REQUIRED");
    ad.set("Enact", "NO");
    ad.set("NewSession", "YES");
    ad.set("NegotiatedSession", true);
    ad.set("SessionDuration", seconds.to_string());
    ad.set("SessionLease", seconds);
    ad.set("ECDHPublicKey", public_key);
    ad.set("RemoteVersion", VERSION);
    ad.set("Subsystem", "TOOL");
    ad
}

/// Asks for the resumption of a session, with an answer.
pub(super) fn resumption(command: i64, session: &str, nonce: &str) -> Ad {
    let mut ad = Ad::new();
    ad.set("Command", command);
    ad.set("UseSession", "YES");
    ad.set("Sid", session);
    ad.set("CryptoMethods", CIPHER);
    ad.set("RemoteVersion", VERSION);
    ad.set("ResumeResponse", true);
    ad.set("Nonce", nonce);
    ad
}

/// Terms in a daemon's answer to [`full`], unless they are less than was asked for.
pub(super) fn agreed(answer: &Ad, asked: Duration) -> Result<Agreed, Error> {
    let weak = |words: &str| Err(Error::new(ErrorKind::TooWeak, Step::Negotiate, words));
    for (name, words) in [
        ("Authentication", "the daemon wants no authentication"),
        ("Encryption", "the daemon wants no encryption"),
    ] {
        if answer.string(name) != Some("YES") {
            return weak(words);
        }
    }
    let lists = |name, entry| {
        let list = answer.string(name).unwrap_or_default();
        list.split([',', ' '])
            .any(|one| one.eq_ignore_ascii_case(entry))
    };
    // Daemons that know only the older name answer with it.
    if !lists("AuthMethodsList", METHOD) && !lists("AuthMethods", METHOD) {
        let words = "the daemon does not accept SCITOKENS";
        return Err(Error::new(
            ErrorKind::NoCommonMethod,
            Step::Negotiate,
            words,
        ));
    }
    if !lists("CryptoMethods", CIPHER) {
        return weak("the daemon does not encrypt with AES");
    }
    let Some(public_key) = answer.string("ECDHPublicKey") else {
        return weak("the daemon agrees on no key");
    };
    let seconds = answer
        .string("SessionDuration")
        .and_then(|text| text.trim().parse().ok());
    let lifetime = seconds.map_or(Duration::ZERO, Duration::from_secs);
    Ok(Agreed {
        public_key: public_key.to_owned(),
        lifetime: lifetime.min(asked),
    })
}
