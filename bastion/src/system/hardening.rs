//! Process limits: no core dump of the memory, which contains tokens, and many open descriptors.

use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// Most descriptors that are requested. HTCondor's tools inherit the limit, and use memory in proportion to it.
const ENOUGH: u64 = 65_536;

/// Disables core dumps, and access to this process's memory by other processes of the same user.
///
/// # Errors
/// The system refuses.
pub fn no_core_dumps() -> nix::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    set_dumpable(false)
}

/// Raises the limit of open descriptors as far as the system permits; returns it.
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
