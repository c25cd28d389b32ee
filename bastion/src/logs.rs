//! Where log lines go: to standard error, one line an event; coloured on a terminal, without the
//! time in systemd's journal, which has its own.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

/// Begins logging. `verbose` adds details, twice adds those of the libraries; without `tells_work`
/// and without it only what is wrong is said.
pub fn init(verbose: u8, tells_work: bool) {
    let filter = match verbose {
        0 if !tells_work => "warn",
        0 => "warn,bastion=info,htvault=info",
        1 => "warn,bastion=debug,htvault=debug",
        _ => "debug",
    };
    let terminal = io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(io::stderr)
        .with_ansi(terminal)
        .with_target(verbose > 0);
    // A second start, in a test, is of no effect.
    let _ = if std::env::var_os("JOURNAL_STREAM").is_some() && !terminal {
        builder.without_time().try_init()
    } else {
        builder.try_init()
    };
}
