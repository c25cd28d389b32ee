//! The secrets of one run, as they go over the wire and stand in the keytabs, and a search for them in anything.
//!
//! What always holds: a piece of 15 bytes of any secret is found, plain, in base64 and in hexadecimal digits; a
//! message names kind and place, never the secret.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::header::HeaderMap;
use serde_json::Value;

/// Length of the pieces that are looked for, in bytes.
const PIECE: usize = 12;
/// One piece begins at each of these distances.
const STEP: usize = 4;

/// A kind of secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Of a keytab.
    Key,
    /// A ticket on its way: `Authorization: Negotiate`, and the answer to it.
    Ticket,
    /// A login at Vault: can make vault tokens.
    Login,
    /// A vault token that a schedd gets.
    VaultToken,
    /// An access token.
    AccessToken,
    /// A refresh token.
    RefreshToken,
    /// What ties a person's login to the process that waits for it.
    Flow,
}

/// All secrets that were seen so far.
#[derive(Default)]
pub struct Known(Mutex<BTreeMap<Vec<u8>, Kind>>);

impl Known {
    fn all(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Kind>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn learn(&self, kind: Kind, secret: &[u8]) {
        self.all().entry(secret.to_vec()).or_insert(kind);
    }

    /// Takes the secrets out of a request or an answer.
    pub fn see(&self, headers: &HeaderMap, body: &[u8]) {
        for name in ["authorization", "www-authenticate"] {
            let values = headers.get_all(name).iter();
            for value in values.filter_map(|value| value.to_str().ok()) {
                if let Some(ticket) = value.strip_prefix("Negotiate ") {
                    self.learn(Kind::Ticket, ticket.as_bytes());
                }
            }
        }
        if let Ok(body) = serde_json::from_slice(body) {
            self.see_json(&body);
        }
    }

    fn see_json(&self, value: &Value) {
        match value {
            Value::Object(fields) => {
                let is_login = fields.get("orphan") == Some(&true.into());
                for (name, value) in fields {
                    let kind = match name.as_str() {
                        "client_token" if is_login => Kind::Login,
                        "client_token" => Kind::VaultToken,
                        "access_token" => Kind::AccessToken,
                        "refresh_token" | "oauth2_refresh_token" => Kind::RefreshToken,
                        "client_nonce" | "state" => Kind::Flow,
                        _ => {
                            self.see_json(value);
                            continue;
                        }
                    };
                    match value.as_str() {
                        Some(secret) => self.learn(kind, secret.as_bytes()),
                        None => self.see_json(value),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| self.see_json(value)),
            _ => {}
        }
    }

    /// The number of secrets of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.all().values().filter(|is| **is == kind).count()
    }

    /// One secret of a kind, for a leak that is planted.
    pub fn one(&self, kind: Kind) -> Vec<u8> {
        let all = self.all();
        let one = all.iter().find(|(_, is)| **is == kind);
        one.map(|(secret, _)| secret.clone()).unwrap()
    }

    /// A search for all that is known now.
    pub fn finder(&self) -> Finder {
        let mut finder = Finder::default();
        for (number, (secret, kind)) in self.all().iter().enumerate() {
            // The header of a JSON web token is the same for all of an issuer, and says nothing.
            let secret = match kind {
                Kind::AccessToken => {
                    secret
                        .split_at(secret.iter().position(|b| *b == b'.').unwrap_or(0))
                        .1
                }
                _ => secret,
            };
            let named = (*kind, number);
            finder.add(secret, named);
            let mut hex = String::new();
            for byte in secret {
                // Writing to a string cannot fail.
                let _ = write!(hex, "{byte:02x}");
            }
            finder.add(hex.to_uppercase().as_bytes(), named);
            finder.add(hex.as_bytes(), named);
            // Where a text begins within base64's groups of three shows in the letters.
            for skipped in 0..3 {
                let from = secret.get(skipped..).unwrap_or_default();
                finder.add(
                    STANDARD.encode(from).trim_end_matches('=').as_bytes(),
                    named,
                );
                finder.add(URL_SAFE_NO_PAD.encode(from).as_bytes(), named);
            }
        }
        finder
    }
}

/// A search for pieces of secrets.
#[derive(Default)]
pub struct Finder {
    /// Each with the secret's kind and number; no number for what several secrets have in common, as access tokens of
    /// one account have most of their claims.
    pieces: HashMap<Vec<u8>, (Kind, Option<usize>)>,
    /// Which first three bytes pieces have: most places of a text are passed over by these.
    beginnings: Beginnings,
}

struct Beginnings(Vec<bool>);

impl Default for Beginnings {
    fn default() -> Self {
        Self(vec![false; 1 << 24])
    }
}

impl Beginnings {
    fn place([a, b, c]: [u8; 3]) -> usize {
        (usize::from(a) << 16) | (usize::from(b) << 8) | usize::from(c)
    }
}

impl Finder {
    fn add(&mut self, text: &[u8], secret: (Kind, usize)) {
        for start in (0..text.len()).step_by(STEP) {
            if let Some(piece) = text.get(start..start + PIECE) {
                let (kind, number) = secret;
                let entry = self.pieces.entry(piece.to_vec());
                let (_, owner) = entry.or_insert((kind, Some(number)));
                *owner = owner.filter(|owner| *owner == number);
                self.beginnings.0[Beginnings::place([piece[0], piece[1], piece[2]])] = true;
            }
        }
    }

    /// The kinds of secrets of which pieces stand in a text, each with its first place.
    pub fn find(&self, text: &[u8]) -> BTreeMap<Kind, usize> {
        let mut found = BTreeMap::new();
        for (place, (kind, _)) in self.pieces_in(text) {
            found.entry(kind).or_insert(place);
        }
        found
    }

    /// The numbers of different secrets of each kind of which pieces stand in a text.
    pub fn different(&self, text: &[u8]) -> BTreeMap<Kind, BTreeSet<usize>> {
        let mut found: BTreeMap<Kind, BTreeSet<usize>> = BTreeMap::new();
        for (_, (kind, number)) in self.pieces_in(text) {
            found.entry(kind).or_default().extend(number);
        }
        found
    }

    /// All pieces in a text with their places. A plain loop: it goes over a hundred megabytes, without optimization.
    fn pieces_in(&self, text: &[u8]) -> Vec<(usize, (Kind, Option<usize>))> {
        let mut found = Vec::new();
        let mut at = 0;
        while at + PIECE <= text.len() {
            let place = Beginnings::place([text[at], text[at + 1], text[at + 2]]);
            if self.beginnings.0[place]
                && let Some(secret) = self.pieces.get(&text[at..at + PIECE])
            {
                found.push((at, *secret));
            }
            at += 1;
        }
        found
    }
}

#[test]
fn pieces_of_secrets_are_found_in_each_form() {
    let known = Known::default();
    let answer = r#"{"auth":{"client_token":"s.abcdefghijklmnopqrstuvwx","orphan":true},
        "data":{"access_token":"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJjbXNwcm9kIn0.c2lnbmF0dXJlLW9mLXRva2Vu"}}"#;
    known.see(&HeaderMap::new(), answer.as_bytes());
    known.learn(Kind::Key, &[0xd3; 32]);
    let finder = known.finder();
    for (text, kind) in [
        (b"x=s.abcdefghijklmnopqrstuvwx;".to_vec(), Kind::Login),
        (b"\"defghijklmnopqr\"".to_vec(), Kind::Login),
        (
            STANDARD
                .encode("token: s.abcdefghijklmnopqrstuvwx")
                .into_bytes(),
            Kind::Login,
        ),
        (b"...c2lnbmF0dXJlLW9mL...".to_vec(), Kind::AccessToken),
        ("d3".repeat(20).into_bytes(), Kind::Key),
        ([b"key ".to_vec(), vec![0xd3; 16]].concat(), Kind::Key),
    ] {
        let kinds: Vec<Kind> = finder.find(&text).into_keys().collect();
        assert_eq!(kinds, [kind], "{text:?}");
    }
    assert_eq!(finder.find(b"eyJhbGciOiJFUzI1NiJ9 s.abcdefg").len(), 0);
}

#[test]
fn what_tokens_have_in_common_stands_for_none_of_them() {
    let known = Known::default();
    let tokens = ["b25lIG9mIHR3bw", "YW5vdGhlciBvbmU"].map(|end| {
        let claims = "eyJzdWIiOiJjbXNwcm9kIiwid2xjZy52ZXIiOiIxLjAifQ";
        format!("eyJhbGciOiJFUzI1NiJ9.{claims}.{end}")
    });
    for token in &tokens {
        known.learn(Kind::AccessToken, token.as_bytes());
    }
    let finder = known.finder();
    for (text, count) in [(tokens[0].clone(), 1), (tokens.concat(), 2)] {
        let found = finder.different(text.as_bytes());
        assert_eq!(found[&Kind::AccessToken].len(), count);
    }
}
