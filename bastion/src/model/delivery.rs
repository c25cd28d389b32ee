//! A delivery: one service credential of one account at one schedd. It is the unit of desired state, status, retry,
//! revocation and metrics.
//!
//! Always true: values come from a checked configuration. Names are valid in files, URLs and HTCondor; a lifetime is
//! longer than its renewal margin.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use htvault::{CredentialUrl, TlsSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::model::selection::Selection;

/// Name of a delivery, unique among all.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct DeliveryId {
    /// Account at the schedd.
    pub account: String,
    /// HTCondor's service name.
    pub service: String,
    /// Host of the credd, or name of the directory's group.
    pub schedd: String,
}

/// Kerberos principal that logs in, with its keytab.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The account that this identity delivers for.
    pub account: String,
    /// `name@REALM`.
    pub principal: String,
    /// Path of its keytab.
    pub keytab: PathBuf,
}

impl Identity {
    /// Realm of the principal.
    #[must_use]
    pub fn realm(&self) -> &str {
        let parts = self.principal.rsplit_once('@');
        parts.map_or("", |(_, realm)| realm)
    }
}

/// Credential at Vault, with the demands on its access tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Identity that reads it.
    pub identity: Arc<Identity>,
    /// HTCondor's service name.
    pub service: String,
    /// Issuer as Vault names it.
    pub issuer: String,
    /// Role at that issuer.
    pub role: String,
    /// Owner of the credential at Vault (`credkey`).
    pub credkey: String,
    /// Scopes to reduce access tokens to; none means all of the role's.
    pub scopes: Vec<String>,
    /// Audience to make access tokens for.
    pub audience: Option<String>,
    /// URL of access tokens for jobs: cached by Vault, or exchanged when scopes or audience are reduced.
    pub url: CredentialUrl,
    /// URL of unreduced access tokens, to open a credd.
    pub full_url: CredentialUrl,
    /// Lifetime of the refresh token at Vault, and when to warn.
    pub grant: Grant,
}

/// Configured facts about a refresh token, which comes from a login by a person and may expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Grant {
    /// Lifetime after that login; `None` when unknown.
    pub lifetime: Option<Duration>,
    /// People are warned when less than this is left of it.
    pub warn: Duration,
}

impl Default for Grant {
    /// Unknown lifetime; a warning two weeks before the end leaves time to find the person.
    fn default() -> Self {
        Self {
            lifetime: None,
            warn: Duration::from_hours(14 * 24),
        }
    }
}

impl Credential {
    /// The scopes as Vault and HTCondor take them: separated by commas.
    #[must_use]
    pub fn scope_list(&self) -> Option<String> {
        (!self.scopes.is_empty()).then(|| self.scopes.join(","))
    }
}

/// Destination of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// A credential directory on this host.
    Directory(PathBuf),
    /// A credd.
    Credd(CreddTarget),
}

/// A credd, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CreddTarget {
    /// Host name or address.
    pub host: String,
    /// Collector that knows the credd's address; that of HTCondor's configuration on this host when `None`.
    pub collector: Option<String>,
    /// Way to it.
    pub way: Way,
    /// Authentication at the credd.
    pub authentication: Authentication,
}

impl Target {
    /// Returns the credd; nothing for a directory.
    #[must_use]
    pub fn credd(&self) -> Option<&CreddTarget> {
        match self {
            Self::Directory(_) => None,
            Self::Credd(credd) => Some(credd),
        }
    }

    /// The transport's name.
    #[must_use]
    pub fn transport(&self) -> &'static str {
        self.way().map_or("directory", Way::name)
    }

    /// Returns the way to the credd; nothing for a directory.
    #[must_use]
    pub fn way(&self) -> Option<&Way> {
        self.credd().map(|credd| &credd.way)
    }

    /// Returns true when an access token is needed to read or store anything.
    #[must_use]
    pub fn needs_opener(&self) -> bool {
        let is_opened_so = |credd: &CreddTarget| credd.authentication.method == Method::Scitokens;
        self.credd().is_some_and(is_opened_so)
    }

    /// Returns true for the same place, whatever the way to it: a schedd has one place for each domain of accounts.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Credd(one), Self::Credd(other)) => one.authentication == other.authentication,
            _ => self == other,
        }
    }

    /// Returns true when stored credentials can be read back.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        matches!(self, Self::Directory(_))
    }
}

/// Way to credds and collectors.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Way {
    /// HTCondor's protocol, which this program speaks itself.
    Cedar {
        /// Authorities that the certificates of the credds are from.
        authorities: TlsSettings,
    },
    /// HTCondor's own tools on this host.
    Condor,
}

impl Way {
    /// Name of the transport.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Cedar { .. } => "cedar",
            Self::Condor => "condor",
        }
    }

    /// Returns the authorities that the certificates of the credds are from, where this program checks them.
    #[must_use]
    pub fn authorities(&self) -> Option<&TlsSettings> {
        match self {
            Self::Cedar { authorities } => Some(authorities),
            Self::Condor => None,
        }
    }
}

/// Authentication at a credd: method and user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Authentication {
    /// Authentication method.
    pub method: Method,
    /// Domain of the accounts that credentials are stored for (`ACCOUNT@DOMAIN`); for super-users of the credd
    /// (`CRED_SUPER_USERS`). `None`: stored for the user as whom the credd authenticates this host.
    pub domain: Option<String>,
}

/// Authentication methods of HTCondor's security layer that a bastion can use unattended.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// An access token of the account itself.
    #[default]
    Scitokens,
    /// An IDTOKEN that HTCondor's tools find on this host.
    Idtokens,
    /// This host's certificate.
    Ssl,
    /// A ticket of the account, from its keytab.
    Kerberos,
    /// The same machine.
    Fs,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// One service credential of one account at one schedd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its name.
    pub id: DeliveryId,
    /// Credential that is delivered.
    pub credential: Arc<Credential>,
    /// The credential whose access token opens the credd.
    pub authorize: Arc<Credential>,
    /// Destination.
    pub target: Target,
    /// Lifetime of the vault token.
    pub lifetime: Duration,
    /// Renewal margin: the token is renewed when less than this is left. Shorter than `lifetime`.
    pub renew_below: Duration,
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} at {}", self.account, self.service, self.schedd)
    }
}

impl DeliveryId {
    /// A part of `whole`, evenly spread over deliveries and the same in every run: at least zero, less than `whole`. Each
    /// `salt` gives another one.
    #[must_use]
    pub fn share_of(&self, whole: Duration, salt: u64) -> Duration {
        let mut hasher = DefaultHasher::new();
        (self, salt).hash(&mut hasher);
        let millis = u64::try_from(whole.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(hasher.finish().checked_rem(millis).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(account: &str) -> DeliveryId {
        DeliveryId {
            account: account.to_owned(),
            service: "cms".to_owned(),
            schedd: "ap1".to_owned(),
        }
    }

    #[test]
    fn shares_are_spread_evenly_and_repeatable() {
        let mut counts = [0; 10];
        for n in 0..1000 {
            let id = id(&format!("a{n}"));
            let share = id.share_of(Duration::from_secs(10), 1);
            assert_eq!(share, id.share_of(Duration::from_secs(10), 1));
            counts[usize::try_from(share.as_secs()).unwrap()] += 1;
        }
        assert!(counts.iter().all(|c| (60..140).contains(c)), "{counts:?}");
    }

    #[test]
    fn a_share_of_nothing_is_nothing() {
        assert_eq!(id("a").share_of(Duration::ZERO, 0), Duration::ZERO);
    }
}
