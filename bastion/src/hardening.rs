//! What this process may never do: leave its memory, which holds tokens, in a core dump.

use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, setrlimit};

/// Switches core dumps off, and reading of this process's memory by others of the same user.
///
/// # Errors
/// The system refuses.
pub fn no_core_dumps() -> nix::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    set_dumpable(false)
}
