//! Limits of this process: its memory, which holds tokens, never goes into a core dump, and it may
//! have many descriptors open.

use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// Descriptors that are enough for everything. Tools of HTCondor inherit the limit, and take memory
/// in proportion to it.
const ENOUGH: u64 = 65_536;

/// Switches core dumps off, and reading of this process's memory by others of the same user.
///
/// # Errors
/// The system refuses.
pub fn no_core_dumps() -> nix::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    set_dumpable(false)
}

/// Raises the limit of open descriptors to what the system permits; returns it.
#[must_use]
pub fn raise_descriptors() -> u64 {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    let wanted = hard.min(ENOUGH).max(soft);
    match setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) {
        Ok(()) => wanted,
        Err(error) => {
            warn!("the limit of open files stays at {soft}: {error}");
            soft
        }
    }
}
