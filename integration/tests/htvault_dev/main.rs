//! `htvault-dev` against the recorded exchanges of a real server, and what they do not show.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

mod admin;
mod behaviour;
mod cases;
mod command;
mod conformance;
mod faults;
mod kerberos;
mod load;
mod oidc;
mod state;
mod wire;
mod world;
