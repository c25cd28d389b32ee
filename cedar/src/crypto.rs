//! Key agreement and encryption of a session: ECDH on P-256, HKDF-SHA256, AES-256-GCM.
//!
//! Everything comes from ring, which does TLS as well, but for GCM: HTCondor's has a nonce of 16 bytes,
//! which `RustCrypto` alone offers. Its first four bytes count a direction's packets. Here is only what
//! HTCondor feeds them. Keys of sessions are zeroed when dropped, and cannot be printed.

use std::fmt;

use aes_gcm::aead::AeadInOut as _;
use aes_gcm::aead::consts::U16;
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, KeyInit as _};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::error::Unspecified;
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::SystemRandom;
use zeroize::Zeroizing;

use crate::packet::{Fault, HEADER, Header, header};

type Cipher = AesGcm<Aes256, U16>;

/// Bytes of the nonce, sent before a direction's first packet, and of each packet's tag.
const NONCE: usize = 16;
const TAG: usize = 16;

/// Our half of a key agreement.
pub(crate) struct KeyPair {
    private: EphemeralPrivateKey,
    public: String,
}

impl KeyPair {
    /// A new one of the system's random numbers.
    pub(crate) fn generate() -> Result<Self, Fault> {
        let halves = || {
            let private = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new())?;
            let public = BASE64_STANDARD.encode(private.compute_public_key()?);
            Ok(Self { private, public })
        };
        halves().map_err(no_random)
    }

    /// The public half as it stands in an ad: the uncompressed point in base64, one line.
    pub(crate) fn public(&self) -> &str {
        &self.public
    }

    /// The key that the other side's public half leads to.
    pub(crate) fn agree(self, theirs: &str) -> Result<SessionKey, Fault> {
        const NO_POINT: Fault = Fault::Malformed("the daemon's key is no point of P-256");
        let point = BASE64_STANDARD.decode(theirs.trim());
        let point = point.map_err(|_| NO_POINT)?;
        let theirs = UnparsedPublicKey::new(&ECDH_P256, point);
        let key = agree_ephemeral(self.private, &theirs, |shared| {
            let mut key = Zeroizing::new([0; 32]);
            Salt::new(HKDF_SHA256, b"htcondor")
                .extract(shared)
                .expand(&[b"keygen"], HKDF_SHA256)
                .and_then(|expanded| expanded.fill(key.as_mut()))?;
            Ok::<_, Unspecified>(SessionKey(key))
        });
        key.and_then(|key| key).map_err(|Unspecified| NO_POINT)
    }
}

/// Random bytes of the system.
pub(crate) fn random<const LENGTH: usize>() -> Result<[u8; LENGTH], Fault> {
    let bytes = ring::rand::generate(&SystemRandom::new()).map_err(no_random)?;
    Ok(bytes.expose())
}

fn no_random(Unspecified: Unspecified) -> Fault {
    Fault::NoRandom
}

/// Key of a session.
#[derive(Clone)]
pub(crate) struct SessionKey(Zeroizing<[u8; 32]>);

impl SessionKey {
    fn cipher(&self) -> Cipher {
        Cipher::new((&*self.0).into())
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(…)")
    }
}

/// Digests that a direction's first packet authenticates besides its header: of what its sender
/// has sent and received.
type Digests = [Vec<u8>; 2];

/// Place in one direction.
struct Direction {
    digests: Option<Digests>,
    packets: u32,
}

impl Direction {
    fn new(digests: Digests) -> Self {
        Self {
            digests: Some(digests),
            packets: 0,
        }
    }

    /// Bytes that the next packet authenticates.
    fn authenticated(&mut self, header: Header) -> Vec<u8> {
        let digests = self.digests.take();
        let mut bytes = digests.map_or_else(Vec::new, |digests| digests.concat());
        bytes.extend_from_slice(&header);
        bytes
    }

    /// Nonce of the next packet. No number is used twice.
    fn nonce(&mut self, base: &[u8; NONCE]) -> Result<[u8; NONCE], Fault> {
        let number = self.packets;
        self.packets = number.checked_add(1).ok_or(Fault::NotSent(
            "a connection has carried all packets that one key may",
        ))?;
        let [a, b, c, d, rest @ ..] = *base;
        let [a, b, c, d] = u32::from_be_bytes([a, b, c, d])
            .wrapping_add(number)
            .to_be_bytes();
        let mut nonce = [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for (to, from) in nonce.iter_mut().skip(4).zip(rest) {
            *to = from;
        }
        Ok(nonce)
    }
}

/// Encryption of what is sent.
pub(crate) struct Sealer {
    cipher: Cipher,
    base: [u8; NONCE],
    direction: Direction,
}

impl Sealer {
    /// Begins with a random nonce; the digests are those of what was sent and received.
    pub(crate) fn new(key: &SessionKey, digests: Digests) -> Result<Self, Fault> {
        Ok(Self {
            cipher: key.cipher(),
            base: random()?,
            direction: Direction::new(digests),
        })
    }

    /// The whole packet for a message's body, or for a part of it that is not the last.
    pub(crate) fn seal(&mut self, last: bool, body: &[u8]) -> Result<Vec<u8>, Fault> {
        let nonce_sent: &[u8] = match self.direction.packets {
            0 => &self.base,
            _ => &[],
        };
        let length = nonce_sent
            .len()
            .saturating_add(body.len())
            .saturating_add(TAG);
        let header = header(last, length)?;
        let mut packet = Vec::with_capacity(HEADER.saturating_add(length));
        packet.extend_from_slice(&header);
        packet.extend_from_slice(nonce_sent);
        let begin = packet.len();
        packet.extend_from_slice(body);
        let authenticated = self.direction.authenticated(header);
        let nonce = self.direction.nonce(&self.base)?;
        let (_, text) = packet.split_at_mut(begin);
        let tag = self
            .cipher
            .encrypt_inout_detached(&nonce.into(), &authenticated, text.into())
            .map_err(|_| Fault::NotSent("a message cannot be encrypted"))?;
        packet.extend_from_slice(&tag);
        Ok(packet)
    }
}

/// Decryption of what is received.
pub(crate) struct Opener {
    cipher: Cipher,
    base: Option<[u8; NONCE]>,
    direction: Direction,
}

impl Opener {
    /// The digests are those of what the other side sent and received.
    pub(crate) fn new(key: &SessionKey, digests: Digests) -> Self {
        Self {
            cipher: key.cipher(),
            base: None,
            direction: Direction::new(digests),
        }
    }

    /// The text of a packet.
    pub(crate) fn open(
        &mut self,
        header: Header,
        mut packet: Vec<u8>,
    ) -> Result<Zeroizing<Vec<u8>>, Fault> {
        const SHORT: Fault = Fault::Malformed("an encrypted packet is too short");
        let mut text = &mut *packet;
        let base = if let Some(base) = self.base {
            base
        } else {
            let (base, rest) = text.split_first_chunk_mut::<NONCE>().ok_or(SHORT)?;
            text = rest;
            *self.base.insert(*base)
        };
        let (text, tag) = text.split_last_chunk_mut::<TAG>().ok_or(SHORT)?;
        let authenticated = self.direction.authenticated(header);
        let nonce = self.direction.nonce(&base)?;
        self.cipher
            .decrypt_inout_detached(
                &nonce.into(),
                &authenticated,
                (&mut *text).into(),
                &(*tag).into(),
            )
            .map_err(|_| Fault::Malformed("a packet that the session's key does not open"))?;
        let opened = Zeroizing::new(text.to_vec());
        zeroize::Zeroize::zeroize(&mut packet);
        Ok(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind, Step};

    #[test]
    fn a_system_without_random_numbers_is_no_bad_value_of_the_callers() {
        let error = Error::wire(Step::Negotiate, no_random(Unspecified));
        assert_eq!(error.kind(), ErrorKind::Local);
        assert!(error.may_pass());
        let words = "security negotiation: the system has no random numbers";
        assert_eq!(error.message(), words);
    }
}
