//! Requests carried out by the running reconciler.

use std::sync::Arc;

use tokio::sync::watch;

use super::protocol::{Answer, Refusal, Request};
use super::server::{Events, Orders};
use crate::delivery::Selection;
use crate::report::Report;

/// What requests are carried out with.
pub struct Service {
    /// What is known.
    pub reports: watch::Receiver<Arc<Report>>,
}

impl Orders for Service {
    async fn carry_out(&self, request: Request, _: Events) -> Result<Answer, Refusal> {
        match request {
            Request::Status { selection } => Ok(Answer::Report(self.selected(&selection)?)),
        }
    }
}

impl Service {
    /// What is known of the deliveries that are meant. A name that fits nothing is refused.
    fn selected(&self, selection: &Selection) -> Result<Report, Refusal> {
        let report = Arc::clone(&self.reports.borrow());
        report.only(selection).map_err(Refusal::usage)
    }
}
