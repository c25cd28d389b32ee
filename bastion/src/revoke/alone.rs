//! Cutting off where no service runs: by the configuration, and by what the ledger names.
//!
//! What holds: no token is in anybody's memory then, so only what can be read back at a schedd is
//! revoked here; every other one is named to Vault's admins. The deliveries are kept off when the
//! service starts.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::cut::by_admins;
use super::{Cut, Silent, cut, kept_off, kept_off_step};
use crate::config::Config;
use crate::delivery::{Delivery, DeliveryId, Selection, Target};
use crate::ledger::{Ledger, Note};
use crate::push::{Parts, Tokens};
use crate::transport::Transport;
use crate::vault::Vault;

/// The deliveries that are meant, those too that only the ledger knows: `None` for one that the
/// configuration has no longer.
#[must_use]
pub fn meant(
    config: &Config,
    ledger: &Ledger,
    selection: &Selection,
) -> BTreeMap<DeliveryId, Option<Arc<Delivery>>> {
    let noted = ledger
        .notes()
        .map(|(id, _)| (id.clone(), found(config, id)));
    let configured = config.deliveries.iter();
    let configured = configured.map(|delivery| (delivery.id.clone(), Some(Arc::clone(delivery))));
    noted
        .chain(configured)
        .filter(|(id, _)| selection.holds(id))
        .collect()
}

/// A delivery to a schedd that a collector was asked for, as far as its name tells.
fn found(config: &Config, id: &DeliveryId) -> Option<Arc<Delivery>> {
    config.searches.iter().find_map(|search| {
        let of_id = search.wanted.iter().find(|pattern| {
            pattern.credential.identity.account == id.account
                && pattern.credential.service == id.service
        });
        let target = Target::Credd {
            host: id.schedd.clone(),
            collector: search.collector.clone(),
            opening: search.opening.clone(),
        };
        Some(Arc::new(of_id?.at(&id.schedd, target)))
    })
}

/// Cuts deliveries off, all at the same time, and keeps them off. `leave_schedds` asks nothing of
/// the schedds.
pub async fn cut_off<V: Vault, T: Transport>(
    parts: &Arc<Parts<V, T>>,
    state: &Path,
    ledger: &Ledger,
    meant: BTreeMap<DeliveryId, Option<Arc<Delivery>>>,
    leave_schedds: bool,
) -> Vec<Cut> {
    let now = parts.clock.now();
    let kept = kept_off::set(state, meant.keys(), Some(now)).err();
    let fault = kept.map(|error| format!("{}: {error}", state.display()));
    let silent = Arc::new(Silent::default());
    let mut cuts = Vec::new();
    let mut work = JoinSet::new();
    for (id, delivery) in meant {
        let note = ledger.get(&id);
        let Some(delivery) = delivery else {
            let names = note.into_iter().flat_map(Note::names);
            let steps = names.filter(|token| token.expires > now).map(by_admins);
            let steps = steps.collect();
            cuts.push(Cut { id, steps });
            continue;
        };
        let tokens = note.map(Tokens::noted).unwrap_or_default();
        let (parts, silent) = (Arc::clone(parts), Arc::clone(&silent));
        work.spawn(async move { cut(&parts, &delivery, tokens, leave_schedds, &silent).await });
    }
    // A task that panics is one that is not told; it cannot take the others with it.
    while let Some(ended) = work.join_next().await {
        cuts.extend(ended.ok().map(|(_, cut)| cut));
    }
    for cut in &mut cuts {
        cut.steps.push(kept_off_step(&cut.id, fault.clone()));
    }
    cuts.sort_by(|a, b| a.id.cmp(&b.id));
    parts.openers.revoke_all(&parts.vault).await;
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::Outside;
    use crate::fixtures::{config, delivery};
    use crate::ledger::{Named, Placed};
    use crate::revoke::Became;
    use jiff::Timestamp;

    fn note(accessor: &str, expires: Timestamp) -> Note {
        let token = Named {
            accessor: accessor.to_owned(),
            issued: Timestamp::UNIX_EPOCH,
            expires,
        };
        Note {
            current: Some(Placed {
                token,
                stored: None,
                asks: String::new(),
                access_seconds: None,
            }),
            others: Vec::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_service_tokens_are_named_and_what_is_stored_is_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let outside = Outside::new();
        let credd = Target::Credd {
            host: "ap1".to_owned(),
            collector: None,
            opening: crate::delivery::Opening::default(),
        };
        let config = config(vec![delivery("a", "cms", "ap1", credd)]);
        let now = outside.lock().now();
        let later = crate::moment::after(now, std::time::Duration::from_hours(1));
        let mut gone = config.deliveries[0].id.clone();
        gone.service = "no_longer".to_owned();
        let mut ledger = Ledger::default();
        ledger.set(&config.deliveries[0].id, note("abc", later), now);
        ledger.set(&gone, note("def", later), now);
        let selection = Selection {
            schedd: Some("ap1".to_owned()),
            ..Selection::default()
        };
        let meant = meant(&config, &ledger, &selection);
        assert_eq!(meant.len(), 2);
        let parts = outside.parts();
        let cuts = cut_off(&parts, folder.path(), &ledger, meant, false).await;
        let became: Vec<Vec<Became>> = cuts
            .iter()
            .map(|cut| cut.steps.iter().map(|step| step.became).collect())
            .collect();
        assert_eq!(
            became,
            [
                vec![Became::NotDone, Became::Nothing, Became::Done],
                vec![Became::NotDone, Became::Done]
            ]
        );
        assert!(cuts[1].steps[0].why.contains("-accessor def"), "{cuts:?}");
        assert_eq!(kept_off::read(folder.path()).unwrap().len(), 2);
        assert_eq!(
            outside.lock().living(),
            0,
            "the login that opened the credd too"
        );
    }
}
