//! Claims of a JWT, read without trusting it (no signature is checked), and the form of a token.
//!
//! The claims are those of the WLCG Common JWT Profile 1.x. Access tokens of other issuers may be
//! opaque, or lack any of these; every field is optional. A claim of an odd type is read as far as
//! possible, named in [`Claims::odd`], and harms no other.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use jiff::Timestamp;
use serde_json::{Map, Value};

/// Claims of an access token, unverified. Texts are as they stand in it: what shows one makes it fit
/// ([`printable`](crate::text::printable)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// `iss`: URL of the issuer.
    pub issuer: Option<String>,
    /// `sub`: the user or service that the token speaks for.
    pub subject: Option<String>,
    /// `aud`: the recipients; a string or a list in the token.
    pub audience: Vec<String>,
    /// `exp`: expiry.
    pub expires: Option<Timestamp>,
    /// `iat`: time of issue.
    pub issued: Option<Timestamp>,
    /// `nbf`: time before which the token is not valid.
    pub not_before: Option<Timestamp>,
    /// `jti`: identifier of the token; no secret.
    pub id: Option<String>,
    /// `scope`: permissions; separated by spaces in the token.
    pub scopes: Vec<String>,
    /// `wlcg.ver`: version of the WLCG profile.
    pub wlcg_version: Option<String>,
    /// True for a token that is not signed (`alg` of its header is `none`).
    pub unsigned: bool,
    /// Claims of another type than the profile's, each with its type and without its value, such as
    /// `exp: a string`.
    pub odd: Vec<String>,
}

/// Form of a text that should be a token.
///
/// ```
/// use htvault::TokenForm;
///
/// assert!(matches!(TokenForm::of("e30.eyJzdWIiOiJhIn0.c2ln"), TokenForm::Jwt(_)));
/// assert_eq!(TokenForm::of("2YotnFZFEjr1zCsicMWpAA"), TokenForm::Opaque);
/// assert_eq!(TokenForm::of("<html>"), TokenForm::NotAToken);
/// assert_eq!(TokenForm::of("eyJhbGciOiJ"), TokenForm::NotAToken);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(
    clippy::large_enum_variant,
    reason = "it lives for a moment; a box would be in everybody's way"
)]
pub enum TokenForm {
    /// A JWT, with its claims.
    Jwt(Claims),
    /// A token whose content only its issuer knows: an opaque one, or an encrypted JWT (JWE).
    Opaque,
    /// No bearer token (RFC 6750), or something that begins like a JWT and is none.
    NotAToken,
}

impl TokenForm {
    /// Finds the form of a text. White space at its end does not count.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let text = text.trim_end();
        if !is_b64token(text) {
            return Self::NotAToken;
        }
        let parts = text.split('.').count();
        match Claims::read(text) {
            Some(claims) => Self::Jwt(claims),
            None if parts == 5 => Self::Opaque,
            None if parts == 3 || text.starts_with("eyJ") => Self::NotAToken,
            None => Self::Opaque,
        }
    }
}

/// True for a `b64token` of RFC 6750: what may stand behind `Bearer`.
pub(crate) fn is_b64token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    !body.is_empty() && body.bytes().all(allowed)
}

impl Claims {
    /// Reads the claims of a JWT; `None` for a token that is none (an opaque one).
    ///
    /// ```
    /// use htvault::Claims;
    ///
    /// let claims = Claims::read("e30.eyJzdWIiOiJjbXNwcm9kIn0.c2ln").ok_or("no JWT")?;
    /// assert_eq!(claims.subject.as_deref(), Some("cmsprod"));
    /// assert_eq!(Claims::read("an opaque token"), None);
    /// # Ok::<(), &str>(())
    /// ```
    #[must_use]
    pub fn read(token: &str) -> Option<Self> {
        let mut parts = token.trim_end().split('.');
        let (header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let object = |part: &str| {
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).ok()?;
            serde_json::from_slice::<Map<String, Value>>(&bytes).ok()
        };
        let mut payload = object(payload)?;
        let algorithm = object(header).and_then(|mut header| header.remove("alg"));
        let mut reader = Reader {
            claims: &mut payload,
            odd: Vec::new(),
        };
        let mut claims = Self {
            issuer: reader.text("iss"),
            subject: reader.text("sub"),
            audience: reader.list("aud", |one| vec![one.to_owned()]),
            expires: reader.time("exp"),
            issued: reader.time("iat"),
            not_before: reader.time("nbf"),
            id: reader.text("jti"),
            scopes: reader.list("scope", |all| {
                all.split_whitespace().map(str::to_owned).collect()
            }),
            wlcg_version: reader.text("wlcg.ver"),
            unsigned: (algorithm.as_ref().and_then(Value::as_str))
                .is_some_and(|algorithm| algorithm.eq_ignore_ascii_case("none")),
            odd: Vec::new(),
        };
        claims.odd = reader.odd;
        Some(claims)
    }
}

/// Reads claims one by one, and notes the odd ones.
struct Reader<'a> {
    claims: &'a mut Map<String, Value>,
    odd: Vec<String>,
}

impl Reader<'_> {
    fn take(&mut self, name: &str) -> Option<Value> {
        self.claims.remove(name).filter(|value| !value.is_null())
    }

    fn note(&mut self, name: &str, form: &str) {
        self.odd.push(format!("{name}: {form}"));
    }

    /// A text; a number is taken as its digits.
    fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            other => {
                self.note(name, type_of(&other));
                other.is_number().then(|| other.to_string())
            }
        }
    }

    /// A text or a list of texts.
    fn list(&mut self, name: &str, split: impl Fn(&str) -> Vec<String>) -> Vec<String> {
        match self.take(name) {
            None => Vec::new(),
            Some(Value::String(text)) => split(&text),
            Some(Value::Array(values)) => {
                let all = values.len();
                let texts: Vec<String> = (values.into_iter())
                    .filter_map(|value| match value {
                        Value::String(text) => Some(text),
                        _ => None,
                    })
                    .collect();
                if texts.len() < all {
                    self.note(name, "a list with other values than strings");
                }
                texts
            }
            Some(other) => {
                self.note(name, type_of(&other));
                Vec::new()
            }
        }
    }

    /// A `NumericDate` (RFC 7519): seconds since 1970, perhaps with a fraction, which is cut. A
    /// string of digits and milliseconds are taken, too.
    fn time(&mut self, name: &str) -> Option<Timestamp> {
        let value = self.take(name)?;
        let seconds = match &value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => {
                self.note(name, "a string");
                text.trim().parse().ok()
            }
            other => {
                self.note(name, type_of(other));
                None
            }
        }?;
        let time = |seconds: f64| {
            jiff::SignedDuration::try_from_secs_f64(seconds.floor())
                .and_then(Timestamp::from_duration)
                .ok()
        };
        if let Some(time) = time(seconds) {
            return Some(time);
        }
        // No time that exists, in seconds.
        let milliseconds = time(seconds / 1000.0);
        self.note(
            name,
            match milliseconds {
                Some(_) => "milliseconds",
                None => "a number that is no time",
            },
        );
        milliseconds
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
