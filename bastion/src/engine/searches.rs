//! Schedds that are found through collectors, and what is wanted at them.
//!
//! Always true: a schedd that is found gets its deliveries at once; one that is gone keeps them, and nothing
//! is tried there until it is back. A collector that does not answer, or names no schedd, changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use htvault::RequestLimit;
use jiff::Timestamp;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{info, warn};

use super::Engine;
use crate::config::{Config, Search};
use crate::engine::report::Group;
use crate::engine::revoke::is_wanted;
use crate::model::delivery::{Credential, Delivery, DeliveryId};
use crate::model::problem::{Cause, Kind, Problem};
use crate::schedd::Transport;
use crate::schedd::discovery::{FoundSchedds, ScheddAd, ScheddChange, Taken};
use crate::vault::Vault;

/// Interval between two searches.
const EVERY: Duration = Duration::from_mins(5);
/// Share of the group that is taken off that, so that many are not asked together.
const JITTER: Duration = Duration::from_secs(30);
/// First pause after a collector did not answer.
const FIRST_PAUSE: Duration = Duration::from_secs(15);
/// Salt of the group's share.
const SEARCH: u64 = 3;

/// All searches, and what is wanted besides.
#[derive(Default)]
pub(super) struct Searches {
    listed: Vec<Arc<Delivery>>,
    all: BTreeMap<String, Ongoing>,
    requests: JoinSet<Result<Vec<ScheddAd>, Problem>>,
    /// Number of requests to Vault that the configuration allows.
    pub(super) request_limit: Option<RequestLimit>,
}

/// Answer of a collector to the request with this name; or the request broke off by a fault of this program.
pub(super) type Answer = Result<(Id, Result<Vec<ScheddAd>, Problem>), JoinError>;

/// One search.
struct Ongoing {
    search: Arc<Search>,
    known: FoundSchedds,
    /// The known schedds were found by another expression, or elsewhere.
    outdated: bool,
    /// The collector named no schedd that is searched for, which is logged once.
    names_none: bool,
    problem: Option<Problem>,
    failures: u32,
    next: Instant,
    /// The request that runs.
    request: Option<Id>,
}

/// Wanted deliveries, and the time since which their schedd is gone.
type DesiredDeliveries = BTreeMap<DeliveryId, (Arc<Delivery>, Option<Timestamp>)>;

impl Searches {
    /// Takes over a configuration; every collector is asked again.
    pub(super) fn configure(&mut self, config: &Config) {
        self.request_limit = config.vault.limit;
        self.listed.clone_from(&config.deliveries);
        let mut old = std::mem::take(&mut self.all);
        for search in &config.searches {
            let before = old.remove(&search.group);
            let outdated = before.as_ref().is_some_and(|before| {
                before.outdated
                    || before.search.collector != search.collector
                    || before.search.constraint != search.constraint
            });
            let (known, problem) = before.map_or_else(
                || (FoundSchedds::default(), Some(not_answered(&search.group))),
                |before| (before.known, before.problem),
            );
            let ongoing = Ongoing {
                search: Arc::new(search.clone()),
                known,
                outdated,
                names_none: false,
                problem,
                failures: 0,
                next: Instant::now(),
                request: None,
            };
            self.all.insert(search.group.clone(), ongoing);
        }
    }

    /// Deliveries that are listed, and those at schedds that were found.
    pub(super) fn wanted(&self) -> DesiredDeliveries {
        let mut all = DesiredDeliveries::new();
        for ongoing in self.all.values() {
            for (name, schedd) in &ongoing.known.0 {
                for delivery in ongoing.search.deliveries(name) {
                    let gone = schedd.gone_since();
                    // A schedd that moved to another pool is gone from one and here in the other.
                    let is_here = all
                        .get(&delivery.id)
                        .is_some_and(|(_, other_gone)| other_gone.is_none());
                    if gone.is_none() || !is_here {
                        all.insert(delivery.id.clone(), (delivery, gone));
                    }
                }
            }
        }
        for delivery in &self.listed {
            all.insert(delivery.id.clone(), (Arc::clone(delivery), None));
        }
        all
    }

    /// Deliveries that are listed by name.
    pub(super) fn listed(&self) -> &[Arc<Delivery>] {
        &self.listed
    }

    /// `true` when a delivery is configured.
    pub(super) fn is_wanted(&self, id: &DeliveryId) -> bool {
        is_wanted(&self.listed, self.searches(), id)
    }

    /// Credentials of the configuration; some more than once.
    pub(super) fn credentials(&self) -> impl Iterator<Item = &Arc<Credential>> {
        let listed = self.listed.iter().map(|delivery| &delivery.credential);
        let templates = self.searches().flat_map(|search| &search.templates);
        listed.chain(templates.map(|template| &template.credential))
    }

    /// Searches of the configuration.
    pub(super) fn searches(&self) -> impl Iterator<Item = &Search> {
        self.all.values().map(|ongoing| &*ongoing.search)
    }

    /// Has another transport know the addresses that collectors gave: by their names alone some schedds would be mistaken
    /// for others of their hosts.
    pub(super) fn show_to(&self, transport: &impl Transport) {
        for ongoing in self.all.values() {
            transport.learn(&ongoing.search, &ongoing.known);
        }
    }

    /// Waits for the next answer of a collector; `None` while none is asked.
    pub(super) async fn next_answer(&mut self) -> Option<Answer> {
        self.requests.join_next_with_id().await
    }

    /// Problems of searches, with the number of deliveries that come of each.
    pub(super) fn problems(&self) -> Vec<Group> {
        let all = self.all.values();
        all.filter_map(|ongoing| {
            let problem = ongoing.problem.as_ref()?;
            let schedds = ongoing.known.0.keys();
            let deliveries = schedds.map(|name| ongoing.search.deliveries(name).len());
            Some(Group {
                cause: problem.cause.clone(),
                kind: problem.kind,
                remedy: problem.kind.remedy(),
                message: problem.message.clone(),
                deliveries: deliveries.sum(),
            })
        })
        .collect()
    }
}

/// Problem of a search since the start, until it is answered: nothing is delivered by it yet, which must not look as if all
/// were good.
fn not_answered(group: &str) -> Problem {
    let cause = Cause::Group(group.to_owned());
    let words = "the collector has not answered yet since the start; it is asked now";
    Problem::new(cause, Kind::CollectorDown, words)
}

impl Ongoing {
    /// Takes over an answer; `None` when it changes nothing.
    fn take(
        &mut self,
        answer: Result<Vec<ScheddAd>, Problem>,
        now: Timestamp,
    ) -> Option<Vec<ScheddChange>> {
        let group = self.search.group.as_str();
        let share = DeliveryId {
            account: String::new(),
            service: String::new(),
            schedd: group.to_owned(),
        };
        self.next = Instant::now() + EVERY.saturating_sub(share.share_of(JITTER, SEARCH));
        let ads = match answer {
            Ok(ads) => ads,
            Err(problem) => {
                if self.problem.as_ref() != Some(&problem) {
                    warn!("{problem}");
                }
                let doubled = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
                self.failures = self.failures.saturating_add(1);
                let pause = FIRST_PAUSE.saturating_mul(doubled).min(EVERY);
                self.next = self.next.min(Instant::now() + pause);
                self.problem = Some(problem);
                return None;
            }
        };
        self.failures = 0;
        let before = self.problem.take();
        let found = ads.iter().filter(|ad| ad.matches).count();
        let named_none = std::mem::replace(&mut self.names_none, found == 0);
        if found == 0 {
            if !named_none {
                warn!(
                    group,
                    known = self.known.0.len(),
                    "the collector names no schedd that satisfies `constraint`; known schedds stay"
                );
            }
            if self.known.0.is_empty() {
                // Nothing is delivered, which must not look as if all were good.
                let words = "the collector names no schedd that satisfies `constraint`: try it with `condor_status -schedd \
                             -constraint`; it is asked again";
                let cause = Cause::Group(group.to_owned());
                self.problem = Some(Problem::new(cause, Kind::Transport, words));
            }
            return None;
        }
        if std::mem::take(&mut self.outdated) {
            let asked_for = |name: &str| ads.iter().any(|ad| ad.matches && ad.name == name);
            self.known
                .0
                .retain(|_, schedd| schedd.ads.iter().any(|ad| asked_for(&ad.name)));
        }
        let lifetime = self.search.longest_lifetime();
        let Taken { changes, left_out } = self.known.take(ads, now, lifetime);
        if left_out > 0 {
            let words = format!(
                "{left_out} schedds are left out, since {} are known with those that are gone; narrow `constraint`, or wait \
                 until these are forgotten",
                self.known.0.len()
            );
            let problem = Problem::new(Cause::Group(group.to_owned()), Kind::Transport, words);
            if before.as_ref() != Some(&problem) {
                warn!("{problem}");
            }
            self.problem = Some(problem);
        } else if before.is_some_and(|problem| problem != not_answered(group)) {
            info!(group, "the search gives schedds again");
        }
        Some(changes)
    }
}

impl<V: Vault, T: Transport> Engine<V, T> {
    /// Begins the searches that are due. Returns the time of the next one, if there is any.
    pub(super) fn seek(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let parts = self.parts();
        let mut wake = None;
        let Searches { all, requests, .. } = &mut self.searches;
        for ongoing in all.values_mut() {
            if ongoing.request.is_some() {
                continue;
            }
            if now < ongoing.next {
                wake = wake.into_iter().chain([ongoing.next]).min();
                continue;
            }
            let (parts, search) = (Arc::clone(&parts), Arc::clone(&ongoing.search));
            let known = ongoing.known.clone();
            let request =
                requests.spawn(async move { parts.transport.find(&search, &known).await });
            ongoing.request = Some(request.id());
        }
        wake
    }

    /// Takes over the answer of a collector.
    pub(super) fn found(&mut self, answer: Answer) {
        let (now, parts) = (self.now(), self.parts());
        let request = match &answer {
            Ok((request, _)) => *request,
            Err(error) => {
                self.broke_off("search", error);
                error.id()
            }
        };
        let mut all = self.searches.all.values_mut();
        // None when the configuration changed meanwhile.
        let Some(ongoing) = all.find(|ongoing| ongoing.request == Some(request)) else {
            return;
        };
        ongoing.request = None;
        let search = Arc::clone(&ongoing.search);
        let answer = if let Ok((_, answer)) = answer {
            answer
        } else {
            let cause = Cause::Group(search.group.clone());
            Err(Problem::internal(cause, "the search broke off"))
        };
        let changes = ongoing.take(answer, now);
        for change in changes.iter().flatten() {
            log(&search.group, change);
        }
        if changes.is_some() {
            parts.transport.learn(&search, &ongoing.known);
            drop(self.configure(false));
        } else {
            self.show();
        }
    }
}

fn log(group: &str, change: &ScheddChange) {
    match change {
        ScheddChange::New(schedd) => info!(group, schedd, "schedd found"),
        ScheddChange::Back(schedd) => info!(group, schedd, "the schedd is back"),
        ScheddChange::Drained(schedd) => info!(
            group,
            schedd,
            "the schedd no longer satisfies `constraint`; its jobs are served until none is left and its tokens have ended"
        ),
        ScheddChange::Gone(schedd) => warn!(
            group,
            schedd,
            "the collector does not know the schedd any more; it is waited for, and nothing is pushed there meanwhile"
        ),
        ScheddChange::Dropped(schedd) => info!(
            group,
            schedd,
            "the schedd was away for longer than its tokens live, and is not waited for any more"
        ),
    }
}
