//! What a JWT says of itself, read without trusting it: no signature is checked.
//!
//! The claims are those of the WLCG Common JWT Profile 1.x. Access tokens of other issuers may be
//! opaque, or lack any of these; every field is optional.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

/// Claims of an access token, unverified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Claims {
    /// `iss`: URL of the issuer.
    #[serde(default, rename = "iss")]
    pub issuer: Option<String>,
    /// `sub`: whom the token speaks for.
    #[serde(default, rename = "sub")]
    pub subject: Option<String>,
    /// `aud`: for whom it is; a string or a list in the token.
    #[serde(default, rename = "aud", deserialize_with = "one_or_many")]
    pub audience: Vec<String>,
    /// `exp`: when it ends.
    #[serde(default, rename = "exp", deserialize_with = "seconds")]
    pub expires: Option<Timestamp>,
    /// `iat`: when it was made.
    #[serde(default, rename = "iat", deserialize_with = "seconds")]
    pub issued: Option<Timestamp>,
    /// `nbf`: from when on it is good.
    #[serde(default, rename = "nbf", deserialize_with = "seconds")]
    pub not_before: Option<Timestamp>,
    /// `jti`: the token's identifier; no secret.
    #[serde(default, rename = "jti")]
    pub id: Option<String>,
    /// `scope`: what it allows; separated by spaces in the token.
    #[serde(default, rename = "scope", deserialize_with = "space_separated")]
    pub scopes: Vec<String>,
    /// `wlcg.ver`: version of the WLCG profile.
    #[serde(default, rename = "wlcg.ver")]
    pub wlcg_version: Option<String>,
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
        let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?;
        serde_json::from_slice(&payload).ok()
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

fn one_or_many<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    Ok(match Option::<OneOrMany>::deserialize(input)? {
        None => Vec::new(),
        Some(OneOrMany::One(one)) => vec![one],
        Some(OneOrMany::Many(many)) => many,
    })
}

fn space_separated<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    Ok(match Option::<OneOrMany>::deserialize(input)? {
        None => Vec::new(),
        Some(OneOrMany::One(text)) => text.split_whitespace().map(str::to_owned).collect(),
        Some(OneOrMany::Many(many)) => many,
    })
}

/// A NumericDate (RFC 7519): seconds since 1970, perhaps with a fraction, which is cut.
fn seconds<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Timestamp>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Whole(i64),
        Fraction(f64),
    }
    let seconds = match Option::<Number>::deserialize(input)? {
        None => return Ok(None),
        Some(Number::Whole(seconds)) => Timestamp::from_second(seconds),
        Some(Number::Fraction(seconds)) => jiff::SignedDuration::try_from_secs_f64(seconds.floor())
            .and_then(Timestamp::from_duration),
    };
    seconds.map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn jwt(payload: &str) -> String {
        format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn a_wlcg_token_is_read() {
        let claims = Claims::read(&jwt(
            r#"{"iss":"https://issuer.test/","sub":"cmsprod","aud":"https://wlcg.cern.ch/jwt/v1/any",
                "exp":1795334948,"nbf":1795331348,"iat":1795331348,"jti":"a-b","wlcg.ver":"1.0",
                "scope":"storage.read:/ storage.create:/store/temp/user"}"#,
        ))
        .unwrap();
        assert_eq!(claims.audience, ["https://wlcg.cern.ch/jwt/v1/any"]);
        assert_eq!(
            claims.scopes,
            ["storage.read:/", "storage.create:/store/temp/user"]
        );
        assert_eq!(claims.expires.unwrap().as_second(), 1_795_334_948);
        assert_eq!(claims.id.as_deref(), Some("a-b"));
        assert_eq!(claims.wlcg_version.as_deref(), Some("1.0"));
    }

    #[test]
    fn lists_and_fractions_are_read_and_missing_claims_are_none() {
        let claims = Claims::read(&jwt(r#"{"aud":["a","b"],"exp":1795334948.7}"#)).unwrap();
        assert_eq!(claims.audience, ["a", "b"]);
        assert_eq!(claims.expires.unwrap().as_second(), 1_795_334_948);
        assert_eq!(claims.subject, None);
    }

    #[test]
    fn opaque_and_broken_tokens_have_no_claims() {
        for token in ["", "opaque", "a.b", "a.b.c.d", "e30.!!.x", "e30.e30=.x"] {
            assert_eq!(Claims::read(token), None, "{token}");
        }
        assert_eq!(Claims::read(&jwt(r#"{"exp":1e300}"#)), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".{0,80}", payload in "\\PC{0,80}") {
            let _ = Claims::read(&text);
            let _ = Claims::read(&jwt(&payload));
        }
    }
}
