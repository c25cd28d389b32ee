//! Secrets that cannot be printed: no `Display`, a `Debug` without content.
//!
//! The memory of a secret is zeroed when it is dropped, and so is the body of the answer that it came
//! in. Copies in requests, in the buffers of the HTTP and TLS libraries, and those that a caller makes
//! are not.

use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

/// Declares a kind of secret, so that one kind is not taken for another.
macro_rules! secret {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(SecretString);

        impl $name {
            /// The secret itself: for a request's header, a file, a child's environment; never
            /// for a log, an error or a command line.
            #[must_use]
            pub fn expose(&self) -> &str {
                self.0.expose_secret()
            }
        }

        impl From<String> for $name {
            fn from(secret: String) -> Self {
                Self(SecretString::from(secret))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    };
}

/// A vault token: opens what its policies allow at HTVault. Lives hours to weeks.
///
/// It may carry the name of its owner, which is no secret, so that errors can say whose it is; a
/// token of a login has it, and so has a child of one.
///
/// ```
/// let token = htvault::VaultToken::from("s.secret".to_owned()).of("cmsprod");
/// assert_eq!(token.owner(), Some("cmsprod"));
/// assert_eq!(format!("{token:?}"), "VaultToken(… of cmsprod)");
/// ```
#[derive(Clone)]
pub struct VaultToken {
    secret: SecretString,
    owner: Option<Arc<str>>,
}

impl VaultToken {
    /// The secret itself: for a request's header or the credd; never for a log, an error or a
    /// command line.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.secret.expose_secret()
    }

    /// The same token, with the name of its owner.
    #[must_use]
    pub fn of(self, owner: &str) -> Self {
        Self {
            owner: Some(owner.into()),
            ..self
        }
    }

    /// Whose it is, where that is known.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }
}

impl From<String> for VaultToken {
    fn from(secret: String) -> Self {
        Self {
            secret: SecretString::from(secret),
            owner: None,
        }
    }
}

impl fmt::Debug for VaultToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.owner() {
            Some(owner) => write!(f, "VaultToken(… of {owner})"),
            None => f.write_str("VaultToken(…)"),
        }
    }
}

secret!(
    /// An access token of a token issuer: a bearer token for storage, compute and the like.
    AccessToken
);
secret!(
    /// A refresh token of a token issuer. It passes through only once, from the OIDC login into
    /// Vault's store, and is kept nowhere else.
    RefreshToken
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let token = VaultToken::from("s.verysecret".to_owned());
        assert_eq!(format!("{token:?}"), "VaultToken(…)");
        assert_eq!(token.expose(), "s.verysecret");
    }
}
