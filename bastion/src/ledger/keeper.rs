//! Keeps the ledger on disk, beside the loop: no disk that is slow or full holds up a delivery.
//!
//! What holds: what changed is on disk a second later, and one write runs at a time. A write that
//! fails is said once, and tried again while the service runs.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Ledger, Note, file};
use crate::delivery::DeliveryId;

/// Changes within this time are one write.
const GATHER: Duration = Duration::from_secs(1);
/// A write that failed is tried again after this.
const AGAIN: Duration = Duration::from_mins(1);

/// A ledger and where it is kept.
#[derive(Debug, Default)]
pub struct Keeper {
    ledger: Ledger,
    /// The state directory; `None`: nothing is kept.
    state: Option<PathBuf>,
    /// When the next write may begin.
    not_before: Option<Instant>,
    writing: Option<JoinHandle<std::io::Result<()>>>,
    /// What was said of a failed write.
    said: Option<String>,
}

impl Keeper {
    /// Knows nothing of before and keeps nothing.
    #[must_use]
    pub fn forgetful() -> Self {
        Self::default()
    }

    /// What the state directory has, and is to have.
    #[must_use]
    pub fn open(state: PathBuf) -> Self {
        Self {
            ledger: file::load(&state),
            state: Some(state),
            ..Self::default()
        }
    }

    /// What is known.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What is known of a delivery.
    #[must_use]
    pub fn get(&self, id: &DeliveryId) -> Option<&Note> {
        self.ledger.get(id)
    }

    /// Notes what is known of a delivery now.
    pub fn note(&mut self, id: &DeliveryId, note: Note, now: Timestamp) {
        self.ledger.set(id, note, now);
    }

    /// Drops tokens whose life is over, of deliveries too that are no longer configured.
    pub(crate) fn drop_ended(&mut self, now: Timestamp) {
        self.ledger.drop_ended(now);
    }

    /// Begins a write when something changed and none runs. How long until it is to be asked again.
    pub(crate) fn save_if_due(&mut self) -> Duration {
        self.end_write();
        if self.writing.is_some() {
            return GATHER;
        }
        if !self.ledger.is_changed() {
            return Duration::MAX;
        }
        let wait = self
            .not_before
            .map(|at| at.saturating_duration_since(Instant::now()));
        match wait {
            Some(wait) if wait.is_zero() => {
                self.begin_write();
                GATHER
            }
            Some(wait) => wait,
            None => {
                self.not_before = Some(Instant::now() + GATHER);
                GATHER
            }
        }
    }

    /// Writes what is not written yet, and waits for that.
    pub(crate) async fn save_all(&mut self) {
        if let Some(writing) = self.writing.take() {
            let written = writing.await;
            self.note_write(written.unwrap_or_else(|error| Err(error.into())));
        }
        if self.ledger.is_changed() {
            self.begin_write();
            if let Some(writing) = self.writing.take() {
                let written = writing.await;
                self.note_write(written.unwrap_or_else(|error| Err(error.into())));
            }
        }
    }

    fn begin_write(&mut self) {
        self.ledger.take_changed();
        self.not_before = None;
        let Some(state) = self.state.clone() else {
            return;
        };
        let content = self.ledger.to_bytes();
        self.writing = Some(tokio::task::spawn_blocking(move || {
            file::save(&state, &content)
        }));
    }

    /// Notes what came of a write that has ended.
    fn end_write(&mut self) {
        use std::future::Future as _;
        let Some(writing) = &mut self.writing else {
            return;
        };
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        if let std::task::Poll::Ready(written) = std::pin::Pin::new(writing).poll(&mut context) {
            self.writing = None;
            self.note_write(written.unwrap_or_else(|error| Err(error.into())));
        }
    }

    fn note_write(&mut self, written: std::io::Result<()>) {
        let state = self.state.as_deref().unwrap_or("".as_ref()).display();
        match written {
            Ok(()) => {
                if self.said.take().is_some() {
                    info!("the state in {state} is kept again");
                }
            }
            Err(error) => {
                self.ledger.mark_changed();
                self.not_before = Some(Instant::now() + AGAIN);
                let words = error.to_string();
                if self.said.as_ref() != Some(&words) {
                    warn!(
                        "the state directory {state} cannot be written: {words}; correct `state` or its permissions; \
                         without it a restart replaces every token at credds, little by little"
                    );
                    self.said = Some(words);
                }
            }
        }
    }
}
