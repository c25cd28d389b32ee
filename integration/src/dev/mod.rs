//! `htvault-dev`: a development HTVault and its token issuer, in one process.
//!
//! It answers as the recorded exchanges of a real OpenBao do for all that the chain uses: logins by
//! Kerberos and OIDC, tokens, stored credentials, exchange; and it is no mock that says yes: tickets
//! are checked by GSSAPI, the Vault half reaches the issuer by HTTPS only, tokens are signed.
//!
//! Decisions ([`tokens`], [`policy`], [`secrets`], [`issuer`]) are apart from the web
//! ([`node`], [`listener`]); each call is a function from state and request to an
//! [`answers::Answer`]. [`Server`] puts the parts together, for the command and for tests.

pub mod admin;
pub mod answers;
pub mod command;
pub mod controls;
pub mod duration;
pub mod fault_text;
pub mod faults;
pub mod filler;
pub mod issuer;
pub mod issuer_client;
pub mod listener;
pub mod login;
pub mod node;
pub mod oidc;
pub mod outside;
pub mod parts;
pub mod policy;
pub mod port;
pub mod quota;
pub mod random;
pub mod request_log;
pub mod secret_calls;
pub mod secrets;
pub mod server;
pub mod settings;
pub mod shifted_clock;
pub mod state;
pub mod state_file;
pub mod sys;
pub mod tls;
pub mod token_calls;
pub mod tokens;
pub mod vault;

pub use server::{Files, Server, Start};
pub use settings::Settings;
