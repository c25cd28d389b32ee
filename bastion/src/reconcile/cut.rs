//! Deliveries cut off by a person's order.
//!
//! What holds: from the order on nothing is delivered for them, whatever comes of the steps, until a
//! person asks for it again; a try that runs is ended first, so nothing is stored behind an order's
//! back; all deliveries of an order are cut off at the same time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::{info, warn};

use super::{Ended, Reconciler};
use crate::delivery::{DeliveryId, Selection};
use crate::push::Tokens;
use crate::revoke::{Became, Cut, Silent, Step, What, cut, kept_off_step};
use crate::transport::Transport;
use crate::vault::Vault;
use crate::{grants, offboard};

/// Time that an order waits for the disk of the state.
const ON_DISK: Duration = Duration::from_secs(5);

/// How a delivery is to be cut off.
#[derive(Clone, Debug)]
pub(super) struct CutPlan {
    leave_schedd: bool,
    silent: Arc<Silent>,
}

/// An order that is not finished.
pub(super) struct CutOrder {
    waiting: BTreeSet<DeliveryId>,
    cuts: Vec<Cut>,
    answer: Option<oneshot::Sender<Vec<Cut>>>,
}

impl<V: Vault, T: Transport> Reconciler<V, T> {
    /// Begins to cut deliveries off; answered when that is finished.
    pub(super) fn cut_off(
        &mut self,
        selection: &Selection,
        leave_schedd: bool,
        answer: oneshot::Sender<Vec<Cut>>,
    ) {
        let now = self.now();
        self.parts.vault.retry_now();
        let mut cuts = self.recall(selection, leave_schedd);
        let known = self.entries.keys().chain(self.away.0.keys());
        let meant = known.filter(|id| selection.holds(id));
        let meant: Vec<DeliveryId> = meant
            .chain(cuts.iter().map(|cut| &cut.id))
            .cloned()
            .collect();
        // A restart must not push what is being cut off.
        let store = &self.parts.store;
        store.change(|content| content.revoke(&meant, Some(now)));
        let plan = CutPlan {
            leave_schedd,
            silent: Arc::default(),
        };
        for cut in &mut cuts {
            let wanted = self.searches.is_wanted(&cut.id);
            cut.steps.push(kept_off_step(&cut.id, wanted, None));
            log(cut);
        }
        let mut waiting = BTreeSet::new();
        for (id, entry) in self.all_mut() {
            if !selection.holds(id) {
                continue;
            }
            entry.record.cut_off.get_or_insert(now);
            entry.record.failure = None;
            entry.record.asked = false;
            if let Some(stop) = entry.stop.take() {
                // A try that has ended already needs no telling.
                let _ = stop.send(());
            }
            entry.to_cut = Some(plan.clone());
            waiting.insert(id.clone());
        }
        self.cut_orders.push(CutOrder {
            waiting,
            cuts,
            answer: Some(answer),
        });
        self.begin_cuts();
        self.answer_cut_orders();
    }

    /// Begins what nothing runs for any more.
    pub(super) fn begin_cuts(&mut self) {
        for (id, entry) in self.entries.iter_mut().chain(&mut self.away.0) {
            if entry.running {
                continue;
            }
            let Some(plan) = entry.to_cut.take() else {
                continue;
            };
            entry.running = true;
            let parts = Arc::clone(&self.parts);
            let delivery = Arc::clone(&entry.delivery);
            let wanted = self.searches.is_wanted(id);
            let tokens = std::mem::take(&mut entry.tokens);
            let work = async move {
                let CutPlan {
                    leave_schedd,
                    silent,
                } = plan;
                let kept = parts.store.written(ON_DISK).await.err();
                let (tokens, mut cut) = cut(&parts, &delivery, tokens, leave_schedd, &silent).await;
                cut.steps.push(kept_off_step(&delivery.id, wanted, kept));
                Ended::Cut(Box::new(tokens), cut)
            };
            let handle = self.tries.spawn(work);
            self.owners.insert(handle.id(), id.clone());
        }
    }

    /// Notes what came of it, for the delivery and for whoever asked.
    pub(super) fn note_cut(&mut self, id: &DeliveryId, tokens: Tokens, cut: &Cut) {
        log(cut);
        let now = self.now();
        if let Some(entry) = self.known_mut(id) {
            entry.note_cut(tokens);
            let note = entry.to_note();
            self.parts.store.note(id, note, now);
        }
        for order in &mut self.cut_orders {
            if order.waiting.remove(id) {
                order.cuts.push(cut.clone());
            }
        }
        self.answer_cut_orders();
        self.begin_cuts();
    }

    /// Whether what runs for a delivery cuts it off.
    pub(super) fn is_being_cut(&self, id: &DeliveryId) -> bool {
        let known = self.entries.get(id).or_else(|| self.away.0.get(id));
        self.cut_orders
            .iter()
            .any(|order| order.waiting.contains(id))
            && known.is_none_or(|entry| entry.to_cut.is_none())
    }

    /// It was not cut off: whoever asked is told why.
    pub(super) fn not_cut(&mut self, id: &DeliveryId) {
        let is_asked = |order: &CutOrder| order.waiting.contains(id);
        if !self.cut_orders.iter().any(is_asked) {
            return;
        }
        let cut = Cut::broke_off(id.clone());
        self.note_cut(id, Tokens::default(), &cut);
    }

    fn answer_cut_orders(&mut self) {
        self.cut_orders.retain_mut(|order| {
            if !order.waiting.is_empty() {
                return true;
            }
            order.cuts.sort_by(|a, b| a.id.cmp(&b.id));
            if let Some(answer) = order.answer.take() {
                // Whoever asked may have gone away.
                let _ = answer.send(std::mem::take(&mut order.cuts));
            }
            false
        });
    }
}

impl<V: Vault, T: Transport> Reconciler<V, T> {
    /// Goes by what is kept off; what has another configuration by now is not.
    pub(super) fn keep_off(&mut self) {
        let store = &self.parts.store;
        let mut wanted = Vec::new();
        for (id, since) in store.read(|content| content.revoked.clone()) {
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            if entry.record.changed {
                wanted.push(id);
            } else {
                entry.record.cut_off = Some(since);
            }
        }
        if !wanted.is_empty() {
            store.change(|content| content.revoke(&wanted, None));
        }
    }

    /// Begins to make Vault forget the refresh tokens of an account.
    pub(super) fn forget(&mut self, account: String, answer: oneshot::Sender<Vec<Step>>) {
        let of_account = Selection {
            account: Some(account),
            ..Selection::default()
        };
        let meant = self.entries.iter().filter(|(id, _)| of_account.holds(id));
        let credentials = grants::credentials(meant.map(|(_, entry)| &entry.delivery.credential));
        let parts = Arc::clone(&self.parts);
        self.tries.spawn(async move {
            for credential in &credentials {
                parts.close_opener(credential).await;
            }
            Ended::Forgotten(offboard::forget(&parts.vault, &credentials).await, answer)
        });
    }

    pub(super) fn note_forgotten(&mut self, steps: Vec<Step>, answer: oneshot::Sender<Vec<Step>>) {
        let gone = steps.iter().filter_map(|step| match &step.what {
            What::RefreshToken { grant } if step.became < Became::NotDone => Some(grant.clone()),
            _ => None,
        });
        let gone: Vec<String> = gone.collect();
        self.grants_forgotten(&gone);
        // Whoever asked may have gone away.
        let _ = answer.send(steps);
    }
}

fn log(cut: &Cut) {
    let DeliveryId {
        account,
        service,
        schedd,
    } = &cut.id;
    info!(account, service, schedd, "cut off by order");
    for step in &cut.steps {
        let (what, why) = (step.what.words(), &step.why);
        if step.became == Became::NotDone {
            warn!(account, service, schedd, what, "not done: {why}");
        } else {
            info!(account, service, schedd, what, "{}", step.became.words());
        }
    }
}
