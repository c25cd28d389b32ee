//! Credential monitor for HTCondor that keeps access tokens from HTVault fresh.

pub mod folder;
pub mod providers;
pub mod schedule;
pub mod service_name;
pub mod top_file;
pub mod use_file;
