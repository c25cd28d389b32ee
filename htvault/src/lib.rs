//! Client of HTVault: OpenBao or Vault set up by `htvault-config`, which keeps refresh tokens
//! of grid accounts and gives out access tokens.
//!
//! - [`Client`] speaks to one HTVault: Kerberos login, vault tokens, access tokens. It fails over
//!   between addresses, keeps to a limit on requests, and bounds times and sizes.
//! - [`CredentialUrl`] is the address of a stored credential: HTCondor's `vault_url`.
//! - [`Error`] has a message, advice, the next step ([`Action`]) and a [`FailureScope`]: what the
//!   failure speaks of, and so what to charge it to.
//! - [`Claims`] are read from a JWT without trusting it; [`TokenForm`] tells a token from something
//!   else.
//! - `kerberos` (feature `kerberos`) makes the ticket for a login from a keytab, in memory. MIT's
//!   libraries are loaded at run time.
//!
//! Secrets ([`VaultToken`], [`AccessToken`]) cannot be printed; their memory is zeroed when they are
//! dropped (not the buffers of the HTTP and TLS libraries). No error text holds one.
//!
//! A [`Client`] needs a Tokio runtime with time and I/O enabled.
//!
//! ```no_run
//! # async fn example() -> Result<(), htvault::Error> {
//! use htvault::{AccessTokenRequest, Client, Settings, VaultToken};
//!
//! let client = Client::new(&Settings::new("https://htvault.example.org:8200".parse()?))?;
//! let url = client.settings().creds_url("cms", "cmsprod", "crab")?;
//! let vault_token = VaultToken::from(std::env::var("VAULT_TOKEN").unwrap_or_default());
//! let request = AccessTokenRequest { minimum_seconds: Some(2400), ..Default::default() };
//! let token = client.access_token(&url, &vault_token, &request).await?;
//! println!("expires {:?}", token.expires());
//! # Ok(())
//! # }
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

mod access_token;
mod answer;
mod best_access_token;
mod budget;
mod call;
mod claims;
mod client;
pub mod clock;
mod credential_url;
mod dns;
mod endpoints;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "kerberos")]
#[cfg_attr(docsrs, doc(cfg(feature = "kerberos")))]
pub mod kerberos;
mod oidc;
mod paths;
mod preference;
mod secret;
mod settings;
mod survey;
pub mod text;
mod thread;
mod tls;
mod transport;
mod vault_token;

pub use access_token::{AccessTokenAnswer, AccessTokenRequest};
pub use best_access_token::{BestAccessToken, best_access_token};
pub use budget::{RequestLimit, RequestsUsed};
pub use claims::{Claims, TokenForm};
pub use client::Client;
pub use credential_url::{CredentialUrl, ServerUrl};
pub use dns::{Resolve, Resolving, SystemResolver};
pub use error::{Action, Error, ErrorKind, FailureScope};
pub use oidc::{DeviceFlow, OidcLogin, Poll};
pub use paths::Paths;
pub use secret::{AccessToken, RefreshToken, VaultToken};
pub use settings::{After429, Settings};
pub use survey::{Node, NodeAnswer, NodeState, survey};
pub use tls::{Authorities, TlsSettings};
pub use transport::is_of_this_host;
pub use vault_token::{IssuedToken, TokenInfo};

/// The example of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
