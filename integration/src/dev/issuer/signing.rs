//! The issuer's key: ES256 tokens, and the public half as a JWK set.
//!
//! What always holds: the private half leaves only by [`SigningKey::pkcs8`], for the state file.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use secrecy::{ExposeSecret as _, SecretSlice};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

/// The key that signs, and how it is named.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    pkcs8: SecretSlice<u8>,
    random: SystemRandom,
    kid: String,
    header: String,
}

impl SigningKey {
    /// A new random key.
    pub fn generate() -> Result<Self, ring::error::Unspecified> {
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new())?;
        Self::restored(pkcs8.as_ref())
    }

    /// The key that was kept in this form.
    pub fn restored(pkcs8: &[u8]) -> Result<Self, ring::error::Unspecified> {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8, &random)
            .map_err(|_| ring::error::Unspecified)?;
        let (x, y) = coordinates(&pair);
        // The thumbprint of RFC 7638: members in this order, no spaces.
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()));
        let header = json!({"alg": "ES256", "kid": kid, "typ": "JWT"}).to_string();
        Ok(Self {
            pair,
            pkcs8: SecretSlice::from(pkcs8.to_vec()),
            random,
            kid,
            header: URL_SAFE_NO_PAD.encode(header),
        })
    }

    /// The form to keep it in.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        self.pkcs8.expose_secret()
    }

    /// The same key again.
    pub fn copy(&self) -> Result<Self, ring::error::Unspecified> {
        Self::restored(self.pkcs8())
    }

    /// The set of public keys.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        let (x, y) = coordinates(&self.pair);
        json!({"keys": [{
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig",
            "kid": self.kid, "x": x, "y": y,
        }]})
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, ring::error::Unspecified> {
        let claims = serde_json::to_vec(claims).map_err(|_| ring::error::Unspecified)?;
        let mut token = format!("{}.{}", self.header, URL_SAFE_NO_PAD.encode(claims));
        let signature = self.pair.sign(&self.random, token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    /// The claims of a token that this key signed.
    #[must_use]
    pub fn verify<C: DeserializeOwned>(&self, token: &str) -> Option<C> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key())
            .verify(signed.as_bytes(), &signature)
            .ok()?;
        let (_, claims) = signed.split_once('.')?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }
}

/// The public point, from its uncompressed form: a type byte, then both coordinates.
fn coordinates(pair: &EcdsaKeyPair) -> (String, String) {
    let point = pair.public_key().as_ref();
    let both = point.get(1..).unwrap_or_default();
    let (x, y) = both.split_at_checked(32).unwrap_or_default();
    (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_its_own_tokens_only() {
        let key = SigningKey::generate().unwrap();
        let token = key.sign(&json!({"sub": "cmsprod"})).unwrap();
        let claims: serde_json::Value = key.verify(&token).unwrap();
        assert_eq!(claims["sub"], "cmsprod");
        let other = SigningKey::generate().unwrap();
        assert!(other.verify::<serde_json::Value>(&token).is_none());
        assert!(key.verify::<serde_json::Value>("a.b.c").is_none());
        let jwk = &key.jwks()["keys"][0];
        assert_eq!(jwk["x"].as_str().unwrap().len(), 43);
        assert_eq!(jwk["y"].as_str().unwrap().len(), 43);
    }
}
