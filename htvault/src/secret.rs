//! Secrets that cannot be printed: no `Display`, a `Debug` without content, zeroed when dropped.

use std::fmt;

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

secret!(
    /// A vault token: opens what its policies allow at HTVault. Lives hours to weeks.
    VaultToken
);
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
