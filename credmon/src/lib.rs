//! Credential monitor for HTCondor that keeps access tokens from HTVault fresh.
//!
//! The credd stores `<user>/<service>.top` (a vault token and where to use it); this daemon keeps
//! `<user>/<service>.use` (the access token for jobs) fresh beside it.
//!
//! Layers, each imports only from those below (a test sees to it):
//!
//! | | |
//! |---|---|
//! | [`service`] | wiring: configuration, threads, signals, the loop |
//! | `cli` | command line, the `status` command |
//! | `report` | log, status file, metrics: what others see, on threads of their own |
//! | `scheduler` | pure: which credential is renewed when, what a failure is charged to |
//! | `renewal`, `store` | effects: requests to Vault; files, scans and watches |
//! | `config` | HTCondor's configuration, as typed settings |
//! | `model` | plain data |
//!
//! With the feature `simulation` there are entry points for a simulation of scheduler and renewals.
//!
//! Rules that hold everywhere: nothing that a user wrote stops the service of others; a token in
//! place is replaced only by a better one or by one of a newer `.top`, and never deleted; an error of
//! this host is no verdict; no secret is kept longer than a request takes, or reported.

mod cli;
mod config;
#[cfg(test)]
mod fakes;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod model;
mod renewal;
mod report;
mod scheduler;
pub mod service;
#[cfg(feature = "simulation")]
pub mod simulation;
mod store;

pub use cli::Cli;
