//! The part of the world that a failure says something about.

/// The part of the world that a failure says something about: what to charge it to.
///
/// A server's answer about one path, credential or issuer says nothing about the server; only a
/// server that was never reached, or its own word about itself, does.
///
/// ```
/// use htvault::{ErrorKind, FailureScope};
///
/// assert_eq!(ErrorKind::Sealed.scope(), FailureScope::Host);
/// assert_eq!(ErrorKind::Forbidden.scope(), FailureScope::Credential);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FailureScope {
    /// This path, token or credential: refused, nothing stored, an odd answer, no answer in time
    /// after the connection was made, or an error of Vault about this path.
    Credential,
    /// The token issuer behind Vault: down, hanging, or with tokens too short-lived.
    Issuer,
    /// A quota of the server (429). It may be for one path, mount or client.
    Quota,
    /// The server: never reached (DNS, connection, TLS), or by its own word unable to serve
    /// (sealed, standby, no leader, 502 to 504 of something in front of it).
    Host,
    /// This process or host: descriptors, memory, threads, settings, our own limit on requests.
    Local,
}
