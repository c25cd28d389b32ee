//! Credential monitor for HTCondor that keeps access tokens from HTVault fresh.

pub mod agenda;
pub mod cli;
pub mod condor_config;
pub mod daemon;
pub mod directory;
#[cfg(test)]
mod fake;
pub mod folder;
pub mod hosts;
pub mod lifecycle;
pub mod log;
pub mod monitor;
pub mod own_files;
pub mod providers;
pub mod record;
pub mod renewal;
pub mod rules;
pub mod schedule;
pub mod service_name;
pub mod settings;
pub mod source;
pub mod state;
pub mod top_file;
pub mod use_file;
pub mod watch;
