//! Client of HTCondor's wire protocol CEDAR: credentials of a credd, queries of a collector, without
//! an HTCondor installation.
//!
//! - [`Collector`] finds daemons and their addresses.
//! - [`Credd`] stores, deletes and queries the OAuth credentials of accounts. It authenticates by an
//!   access token (HTCondor's method SCITOKENS, inside TLS), agrees on a key, encrypts, and resumes its
//!   session as long as the token lives.
//! - [`Error`] says which daemon failed at which [`Step`], in what way, and what to do.
//!
//! Nothing weaker is accepted than was asked for: no other method, no connection without
//! encryption and a key of its own, no certificate for another name than the one that the caller
//! configured. Each operation has a deadline. What a daemon sends is bounded, and no length that it
//! names is believed before the bytes are there. Secrets cannot be printed, and their memory is zeroed
//! when they are dropped (not the buffers of the TLS library).
//!
//! ```no_run
//! # async fn example(authorities: rustls::RootCertStore) -> Result<(), htcondor_cedar::Error> {
//! use std::time::Duration;
//! use htcondor_cedar::{AccessToken, Collector, Credd, Credential, Kind, Query, Tls};
//!
//! let within = Duration::from_secs(10);
//! let collector = Collector::new("cm.example.org:9618".parse()?);
//! let query = Query {
//!     requirements: Some(r#"Machine == "ap.example.org""#.to_owned()),
//!     projection: vec!["MyAddress".to_owned()],
//!     ..Query::new(Kind::Credd)
//! };
//! for ad in collector.query(&query, within).await? {
//!     let address = ad.string("MyAddress").unwrap_or_default().parse()?;
//!     let token = AccessToken::new("eyJ…".to_owned(), Duration::from_secs(2400));
//!     let credd = Credd::new(address, Tls::new(authorities.clone(), "ap.example.org")?, token);
//!     let stored = credd.store(&Credential::new("cms"), br#"{"vault_token": "..."}"#, within).await?;
//!     println!("stored as {}: {:?}", stored.user, stored.outcome);
//! }
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod address;
mod classad;
mod collector;
mod connection;
mod credd;
mod crypto;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod packet;
mod session;
mod text;
mod tls;
mod token;
mod wire;

pub use address::Address;
pub use classad::{Ad, Value};
pub use collector::{Collector, Kind, Query};
pub use credd::{Credd, Credential, Done, Stored, Times};
pub use error::{Error, ErrorKind, Refusal, Step};
pub use tls::Tls;
pub use token::AccessToken;

/// The example of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
