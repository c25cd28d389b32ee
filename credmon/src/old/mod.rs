//! Credential monitor for HTCondor that keeps access tokens from HTVault fresh.
//!
//! The credd stores `<user>/<service>.top` (a vault token and where to use it); this daemon keeps
//! `<user>/<service>.use` (the access token for jobs) fresh beside it:
//!
//! ```text
//! observe                decide                        execute             report
//! watch ─ looks ─ daemon  monitor ─ record ─ schedule   renewal ─ source    monitor ─ state → log
//! directory ─ folders      │  └ providers, rules          │
//!   └ listing, use_file,   └ agenda, hosts                └ use_file
//!     complete_top ─ top_file
//! ```
//!
//! Decisions ([`monitor`] and what it uses) know no file, network, clock or log. Rules that hold
//! everywhere: nothing that a user wrote stops the service of others; a token in place is replaced
//! only by a newer one, or by one of a newer `.top`, and is never deleted; no secret is kept
//! longer than a request takes, or told.

pub mod agenda;
pub mod cli;
pub mod complete_top;
pub mod condor_config;
pub mod copies;
pub mod daemon;
pub mod directory;
#[cfg(test)]
mod fake;
pub mod folder;
pub mod folders;
pub mod hosts;
pub mod lifecycle;
pub mod listing;
pub mod log;
pub mod looks;
pub mod metrics;
pub mod metrics_server;
pub mod monitor;
pub mod own_files;
pub mod placing;
pub mod privileges;
pub mod providers;
pub mod record;
pub mod renewal;
pub mod rules;
pub mod schedule;
pub mod second;
pub mod service_name;
pub mod settings;
pub mod sharing;
pub mod source;
pub mod state;
pub mod status;
pub mod status_command;
pub mod status_file;
pub mod table;
pub mod top_file;
pub mod use_file;
pub mod used;
pub mod views;
pub mod watch;
pub mod workers;
