//! From keytabs to valid Vault tokens at every HTCondor schedd, unattended.
//!
//! Layers, from the highest to the lowest: a module imports from lower rows only (`tests/layers.rs`).
//!
//! | module | content |
//! |---|---|
//! | [`service`] | the service: start, signals, reload, stop |
//! | [`cli`] | commands, and how they are rendered |
//! | [`api`] | status, metrics and orders by HTTP: control socket, loopback |
//! | [`engine`] | one task per delivery: observe, plan, act, wait; reports |
//! | [`schedd`] | ways to schedds: credds by HTCondor's own tool, directories; schedds found through collectors |
//! | [`vault`] | logins by Kerberos and tokens at Vault |
//! | `limits` | permits: bounded numbers of attempts, circuit breakers of what they share |
//! | `store` | state that survives a restart: one file, one writer |
//! | [`config`] | files to typed settings, or all faults with their places |
//! | [`policy`] | pure decisions: when to renew, back off, adopt, accept a token |
//! | [`model`], [`system`] | plain data; files, log and lock of this host |
//!
//! With the feature `simulation` there are entry points for a simulation of the engine (`simulation`).

pub mod api;
pub mod cli;
pub mod config;
pub mod engine;
#[cfg(test)]
mod fakes;
#[cfg(test)]
mod fixtures;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod limits;
pub mod model;
pub mod policy;
pub mod schedd;
pub mod service;
#[cfg(feature = "simulation")]
pub mod simulation;
mod store;
pub mod system;
pub mod vault;
