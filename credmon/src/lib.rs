//! Credential monitor for HTCondor that keeps access tokens from HTVault fresh.
//!
//! The present program is in [`old`]; its successor grows beside it and takes its place.

pub mod old;
