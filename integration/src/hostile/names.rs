//! Host names and loopback addresses for servers, new ones for each.
//!
//! What always holds: an address is given out once in a process; none of them is one of the
//! sandbox's own (127.83.0.x). Names are lines in the sandbox's private `/etc/hosts`.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Context as _;

use crate::sandbox;

/// The first third byte of the addresses.
const FIRST: u8 = 40;

/// An address that no other server of this process has.
#[must_use]
pub fn new_address() -> Ipv4Addr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let [high, low] = (number / 250).to_be_bytes();
    debug_assert_eq!(high, 0, "250 servers for each third byte are enough");
    let last = u8::try_from(number % 250 + 1).unwrap_or(1);
    Ipv4Addr::new(127, 83, FIRST.saturating_add(low), last)
}

/// Makes names lead to addresses. A name that is given twice leads to both.
pub fn add<'n>(pairs: impl IntoIterator<Item = (&'n str, Ipv4Addr)>) -> anyhow::Result<()> {
    let mut lines = String::new();
    for (name, address) in pairs {
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{address} {name}");
    }
    let file = sandbox::run_folder()?.join("hosts");
    let mut hosts = File::options()
        .append(true)
        .open(&file)
        .with_context(|| format!("cannot open {}", file.display()))?;
    // One call, so that tests that run at the same time do not mix their lines.
    (hosts.write_all(lines.as_bytes())).with_context(|| format!("cannot write {}", file.display()))
}
