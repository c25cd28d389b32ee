//! The limit of requests that the configuration sets, so that Vault's own is never reached.
//!
//! What holds: in no span of `per` more than `limit` requests begin.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::config::Requests;

/// Counts requests.
pub(crate) struct Budget(Option<(Requests, Mutex<VecDeque<Instant>>)>);

impl Budget {
    pub(crate) fn new(requests: Option<Requests>) -> Self {
        Self(requests.map(|requests| (requests, Mutex::default())))
    }

    /// Waits until one more request may begin. First come, first served.
    pub(crate) async fn take(&self) {
        let Some((requests, begun)) = &self.0 else {
            return;
        };
        let mut begun = begun.lock().await;
        if begun.len() >= requests.limit
            && let Some(oldest) = begun.pop_front()
        {
            tokio::time::sleep_until(oldest + requests.per + Duration::from_millis(1)).await;
        }
        begun.push_back(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]
        #[test]
        fn no_span_has_more_requests_than_allowed(
            limit in 1_usize..6,
            per in 1_u64..20,
            pauses in prop::collection::vec(0_u64..8, 1..40),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            let times = runtime.block_on(async {
                let per = Duration::from_secs(per);
                let budget = Budget::new(Some(Requests { limit, per }));
                let mut times = Vec::new();
                for pause in pauses {
                    tokio::time::sleep(Duration::from_secs(pause)).await;
                    budget.take().await;
                    times.push(Instant::now());
                }
                times
            });
            for window in times.windows(limit + 1) {
                prop_assert!(window[limit] - window[0] > Duration::from_secs(per));
            }
        }
    }
}
