//! For tests: a Vault that behaves, a clock that follows tokio's, a credential directory, and the log's lines.

mod credentials;
mod disk;
mod lines;
mod time;
mod vault;

pub(crate) use credentials::{Credentials, set_mode};
pub(crate) use disk::{on_small_disk, set_read_only};
pub(crate) use lines::LogLines;
pub(crate) use time::TestClock;
pub(crate) use vault::{Asked, FakeVault, Server, jwt};
