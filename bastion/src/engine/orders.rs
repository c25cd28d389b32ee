//! Orders of people.
//!
//! Always true: a person's order gets one request through any wait; a revocation is in the store before
//! anything is done for it, and nothing is delivered from then on until a person asks for it again.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::desired::{Message, Revocation};
use super::offboard;
use super::task::Drive;
use super::{Barrier, Engine, Owner, barrier};
use crate::engine::revoke::{RevocationReport, Step, StepObject, StepOutcome, kept_off_step};
use crate::limits::resources::login_by;
use crate::model::delivery::{Credential, Delivery, DeliveryId, Selection};
use crate::model::grants;
use crate::schedd::Transport;
use crate::store::Unfinished;
use crate::vault::Vault;

/// Order of a person that changes when something is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// New vault tokens, pushed now; to where a delivery is revoked only when the schedd is named.
    Push(Selection),
    /// Whatever waits after a failure is tried now.
    Retry(Selection),
}

impl<V: Vault, T: Transport> Engine<V, T> {
    /// Passes an order on. Returns the deliveries that are meant.
    pub(super) fn obey(&mut self, order: &Order) -> (Vec<DeliveryId>, Barrier) {
        let (Order::Push(selection) | Order::Retry(selection)) = order;
        let parts = self.parts();
        parts.vault.retry_now();
        let (applied, barrier) = barrier();
        let mut meant = self.owners_of(selection);
        meant.retain(|(_, owner)| owner.is_wanted);
        // Before the message, or its reader may be refused by what is open still.
        parts.limits.retry_for(&deliveries_of(&meant));
        for (_, owner) in &meant {
            let message = match order {
                Order::Push(_) => Message::Push {
                    delivers_revoked: selection.delivers_revoked(),
                },
                Order::Retry(_) => Message::Retry,
            };
            owner.send(message, &applied);
        }
        let ids = meant.into_iter().map(|(id, _)| id.clone());
        (ids.collect(), barrier)
    }

    fn owners_of(&self, selection: &Selection) -> Vec<(&DeliveryId, &Owner)> {
        let all = self.owners.iter();
        all.filter(|(id, _)| selection.matches(id)).collect()
    }

    /// Has deliveries revoked, those too that are not configured any more. The future ends when all are.
    pub(crate) fn revoke(
        &mut self,
        selection: &Selection,
        leave_schedd: bool,
    ) -> impl Future<Output = Vec<RevocationReport>> + use<V, T> {
        let (since, parts) = (self.now(), self.parts());
        parts.vault.retry_now();
        let mut reports = self.recall_for(selection, leave_schedd);
        let meant = self.owners_of(selection);
        let mut left: BTreeSet<DeliveryId> = meant.iter().map(|(id, _)| (*id).clone()).collect();
        // A restart must not push what is being revoked.
        parts.store.change(|content| {
            for report in &reports {
                let revoked = content.revoke(&report.id, since);
                // Where the schedd is left alone nobody here has anything more to do.
                revoked.unfinished.take_if(|_| leave_schedd);
            }
            for id in &left {
                content.revoke(id, since).unfinished = Some(Unfinished { leave_schedd });
            }
        });
        for report in &mut reports {
            let is_wanted = self.searches.is_wanted(&report.id);
            report
                .steps
                .push(kept_off_step(&report.id, is_wanted, None));
            log(report);
        }
        let is_logged = self.drive.is_some_and(Drive::logs);
        let (answer, mut answers) = mpsc::unbounded_channel();
        let (applied, _) = barrier();
        // Before the message, or its reader may be refused by what is open still.
        parts.limits.retry_for(&deliveries_of(&meant));
        for (id, owner) in meant {
            let order = Revocation {
                since,
                leave_schedd,
                is_wanted: self.searches.is_wanted(id),
                answer: answer.clone(),
            };
            owner.send(Message::Revoke(order), &applied);
        }
        async move {
            drop(answer);
            while let Some(report) = answers.recv().await {
                left.remove(&report.id);
                reports.push(report);
            }
            // Their owners broke off.
            reports.extend(left.into_iter().map(RevocationReport::broke_off));
            reports.sort_by(|a, b| a.id.cmp(&b.id));
            if is_logged {
                reports.iter().for_each(log);
            }
            reports
        }
    }

    /// Configured credentials that are meant, at schedds that are not found yet, too.
    fn credentials_of(&self, selection: &Selection) -> Vec<Arc<Credential>> {
        let all = self.searches.credentials();
        let meant = all.filter(|credential| selection.matches_credential(credential));
        grants::credentials(meant)
    }

    /// Notes that somebody logged in for these credentials; `ends` is the expiry of the refresh tokens, if
    /// the issuer said it. They are pushed at once.
    pub(super) fn onboarded(&mut self, selection: &Selection, ends: Option<Timestamp>) {
        let known = grants::GrantAge {
            onboarded: Some(self.now()),
            first_worked: None,
            stated_expiry: ends,
        };
        let credentials = self.credentials_of(selection);
        // A new token wakes the credmon, which may wait after a refusal.
        self.obey(&Order::Push(selection.clone()));
        self.warnings.forget(&credentials);
        let names = credentials
            .iter()
            .map(|credential| grants::name(credential));
        let known = names.map(|name| (name, known.clone()));
        self.parts()
            .store
            .change(|content| content.grants.extend(known));
    }

    /// Makes Vault forget the refresh tokens of an account.
    pub(super) fn forget(
        &mut self,
        account: String,
    ) -> impl Future<Output = Vec<Step>> + use<V, T> {
        let of_account = Selection {
            account: Some(account),
            ..Selection::default()
        };
        let credentials = self.credentials_of(&of_account);
        let parts = self.parts();
        parts.vault.retry_now();
        for resource in credentials.iter().flat_map(|one| login_by(one)) {
            parts.limits.retry(&resource);
        }
        async move {
            for credential in &credentials {
                parts.sessions.close(credential).await;
            }
            let steps = offboard::forget(&parts.sessions, &credentials).await;
            let gone = steps.iter().filter_map(|step| match &step.what {
                StepObject::RefreshToken { grant } if step.outcome < StepOutcome::NotDone => {
                    Some(grant)
                }
                _ => None,
            });
            let gone: Vec<&String> = gone.collect();
            // What is forgotten has no age any more.
            parts.store.change(|content| {
                content.grants.retain(|name, _| !gone.contains(&name));
            });
            steps
        }
    }
}

fn deliveries_of(owners: &[(&DeliveryId, &Owner)]) -> Vec<Arc<Delivery>> {
    let statuses = owners.iter().map(|(_, owner)| owner.status.borrow());
    statuses
        .map(|status| Arc::clone(&status.delivery))
        .collect()
}

fn log(report: &RevocationReport) {
    let DeliveryId {
        account,
        service,
        schedd,
    } = &report.id;
    info!(account, service, schedd, "delivery revoked by operator");
    for step in &report.steps {
        let (what, why) = (step.what.words(), &step.why);
        if step.outcome == StepOutcome::NotDone {
            warn!(account, service, schedd, what, "not done: {why}");
        } else {
            info!(account, service, schedd, what, "{}", step.outcome.words());
        }
    }
}
