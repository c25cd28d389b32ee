//! From keytabs to valid Vault tokens at every HTCondor schedd, unattended.
//!
//! | module | what it is to the reader |
//! |---|---|
//! | [`config`] | files → deliveries that cannot be wrong, or all faults with their places |
//! | [`delivery`] | the unit: one service credential of one account at one schedd |
//! | [`plan`] | what to do next with a delivery, and when; pure |
//! | [`verify`] | whether an access token and a schedd are as wanted; pure |
//! | [`problem`] | what can go wrong, about what, and who must act |
//! | [`engine`] | one task per delivery: observe, plan, act, wait |
//! | [`push`] | one try: look, token, check, store, job's end |
//! | [`jobs`] | what jobs at a schedd have, and until when; pure |
//! | `store` | state that survives a restart |
//! | [`vault`] | logins by Kerberos and tokens at Vault: the seam, the real thing, logins of this process |
//! | [`schedd`] | ways to schedds: credds by HTCondor's own tool, directories; schedds found through collectors |
//! | [`grants`], [`onboard`] | refresh tokens that people gave: their age; how one is given |
//! | [`revoke`], [`offboard`] | deliveries cut off; everything of an account undone |
//! | [`report`] | what is known, as table and JSON |
//! | [`api`] | status, metrics and orders by HTTP: control socket, loopback |
//! | [`doctor`] | each step that deliveries hang on, tried once |
//! | `limits` | permits: bounded numbers of attempts, circuit breakers of what they share |
//! | `keyed`, `turns` | values by key, each behind a lock of its own; bounded numbers of operations |
//! | `files` | files of this host: plain ones, bounded, on threads of their own |
//! | [`selection`], [`stages`] | deliveries by name; how long stages take |
//! | [`lifecycle`], [`cli`], [`logs`], [`lock`], [`hardening`] | the process |

pub mod api;
mod attendant;
pub mod cli;
mod commands;
pub mod config;
pub mod delivery;
pub mod doctor;
pub mod engine;
#[cfg(test)]
mod fakes;
mod files;
#[cfg(test)]
mod fixtures;
pub mod grants;
pub mod hardening;
pub mod jobs;
mod keyed;
pub mod lifecycle;
mod limits;
pub mod lock;
pub mod logs;
mod moment;
pub mod offboard;
pub mod onboard;
pub mod plan;
pub mod problem;
pub mod push;
mod reload;
pub mod report;
pub mod revoke;
pub mod schedd;
pub mod selection;
pub mod stages;
mod store;
mod turns;
pub mod vault;
pub mod verify;
mod wrap;
