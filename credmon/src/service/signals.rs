//! Signals that HTCondor sends: SIGHUP asks to read everything again, others for the end.
//!
//! Always true: once there was somebody who waits for a signal it never ends the process by itself.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Sender;

use super::daemon::Command;

/// Signals that ask for the end.
pub(super) struct Signals {
    terminate: Signal,
    quit: Signal,
    interrupt: Signal,
    /// Kept so that a limit on file sizes is an error of a write instead of the end.
    _file_size: Signal,
}

impl Signals {
    /// Installs the handlers.
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            quit: on(SignalKind::quit())?,
            interrupt: on(SignalKind::interrupt())?,
            _file_size: on(SignalKind::from_raw(nix::libc::SIGXFSZ))?,
        })
    }

    /// Waits for a signal that asks for the end; returns its name.
    pub(super) async fn stop(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.quit.recv() => "SIGQUIT",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Passes on what signals ask of the loop, until one asks for the end.
    pub(super) async fn pass_on(mut self, mut hangups: Signal, commands: &Sender<Command>) {
        loop {
            tokio::select! {
                _ = hangups.recv() => {
                    tracing::debug!("SIGHUP: directory and configuration are read again");
                    // A full queue or an ended daemon: it is on its way to the same anyway.
                    let _ = commands.try_send(Command::Rescan);
                }
                name = self.stop() => {
                    tracing::info!("{name}: stops");
                    let _ = commands.send(Command::Stop).await;
                    return;
                }
            }
        }
    }
}

/// SIGHUP, for one who waits for it beside others.
pub(super) fn hangups() -> anyhow::Result<Signal> {
    on(SignalKind::hangup())
}

fn on(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("signals cannot be received")
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::{Signal, raise};

    use super::*;

    #[tokio::test]
    async fn signals_are_passed_on_until_one_asks_for_the_end() {
        let (signals, hangups) = (Signals::new().unwrap(), hangups().unwrap());
        let (commands, mut received) = tokio::sync::mpsc::channel(4);
        let passing = tokio::spawn(async move { signals.pass_on(hangups, &commands).await });
        raise(Signal::SIGHUP).unwrap();
        assert!(matches!(received.recv().await, Some(Command::Rescan)));
        raise(Signal::SIGQUIT).unwrap();
        assert!(matches!(received.recv().await, Some(Command::Stop)));
        passing.await.unwrap();
    }
}
