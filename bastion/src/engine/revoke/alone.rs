//! Cutting off where no service runs: by the configuration, and by what the store names.
//!
//! What holds: no token is in anybody's memory then, so only what can be read back at a schedd is
//! revoked here; every other one is named to Vault's admins. The deliveries are kept off when the
//! service starts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{Cut, Manner, Silent, by_name, cut, is_wanted, kept_off_step, leftover};
use crate::config::Config;
use crate::engine::attempt::{Parts, Tokens};
use crate::model::delivery::{Delivery, DeliveryId, Selection};
use crate::schedd::Transport;
use crate::store::Store;
use crate::vault::Vault;

/// Time that an order waits for the disk of the state.
const ON_DISK: Duration = Duration::from_secs(5);

/// The deliveries that are meant, those too that only the store knows: `None` for one whose schedd
/// the configuration says no longer how to reach.
#[must_use]
pub(crate) fn meant(
    config: &Config,
    store: &Store,
    selection: &Selection,
) -> BTreeMap<DeliveryId, Option<Arc<Delivery>>> {
    let noted = store.read(|content| content.deliveries.keys().cloned().collect::<Vec<_>>());
    let noted = noted.into_iter().map(|id| {
        let found = leftover(&config.deliveries, &config.searches, &id);
        (id, found.map(Arc::new))
    });
    let configured = config.deliveries.iter();
    let configured = configured.map(|delivery| (delivery.id.clone(), Some(Arc::clone(delivery))));
    noted
        .chain(configured)
        .filter(|(id, _)| selection.holds(id))
        .collect()
}

/// Cuts deliveries off, all at the same time, and keeps them off. `leave_schedds` asks nothing of
/// the schedds.
pub async fn cut_off<V: Vault, T: Transport>(
    parts: &Arc<Parts<V, T>>,
    config: &Config,
    meant: BTreeMap<DeliveryId, Option<Arc<Delivery>>>,
    leave_schedds: bool,
) -> Vec<Cut> {
    if meant.is_empty() {
        return Vec::new();
    }
    let now = parts.clock.now();
    let store = &parts.store;
    store.change(|content| content.revoke(meant.keys(), Some(now)));
    let fault = store.written(ON_DISK).await.err();
    let silent = Arc::new(Silent::default());
    let mut cuts = Vec::new();
    let mut work = JoinSet::new();
    let mut owners = HashMap::new();
    for (id, delivery) in meant {
        let note = store.note_of(&id);
        let Some(delivery) = delivery else {
            let note = note.unwrap_or_default();
            cuts.push(by_name(&id, &note, now, leave_schedds));
            continue;
        };
        let tokens = note.as_ref().map(Tokens::noted).unwrap_or_default();
        let (parts, silent) = (Arc::clone(parts), Arc::clone(&silent));
        let task = work.spawn(async move {
            let manner = Manner {
                leave_schedd: leave_schedds,
                silent: &silent,
                then: "run this again then",
            };
            cut(&parts, &delivery, &tokens, manner).await
        });
        owners.insert(task.id(), id);
    }
    while let Some(ended) = work.join_next_with_id().await {
        cuts.extend(match ended {
            Ok((_, (_, cut))) => Some(cut),
            Err(error) => owners.remove(&error.id()).map(Cut::broke_off),
        });
    }
    for cut in &mut cuts {
        let wanted = is_wanted(&config.deliveries, &config.searches, &cut.id);
        cut.steps
            .push(kept_off_step(&cut.id, wanted, fault.clone()));
    }
    cuts.sort_by(|a, b| a.id.cmp(&b.id));
    parts.sessions.close_all().await;
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::revoke::Became;
    use crate::fakes::Outside;
    use crate::fixtures::{config, credd, delivery};
    use crate::model::note::{Named, Note, Placed};
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
                access_reads: Vec::new(),
                bearer: None,
                served: None,
                serves_until: None,
                jobs_safe_until: None,
            }),
            others: Vec::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_service_tokens_are_named_and_what_is_stored_is_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let outside = Outside::new();
        let mut config = config(vec![delivery("a", "cms", "ap1", credd("ap1"))]);
        config.state = folder.path().to_owned();
        let now = outside.lock().now();
        let later = crate::model::moment::after(now, Duration::from_hours(1));
        let mut gone = config.deliveries[0].id.clone();
        gone.service = "no_longer".to_owned();
        let store = Store::open(folder.path());
        store.note(&config.deliveries[0].id, note("abc", later), now);
        store.note(&gone, note("def", later), now);
        // A token of another account does not open the credd for this one.
        let mut stranger = gone.clone();
        stranger.account = "b".to_owned();
        store.note(&stranger, note("ghi", later), now);
        let selection = Selection {
            schedd: Some("ap1".to_owned()),
            ..Selection::default()
        };
        let meant = meant(&config, &store, &selection);
        assert_eq!(meant.len(), 3);
        let parts = outside.parts_with(store);
        let cuts = cut_off(&parts, &config, meant, false).await;
        let became: Vec<Vec<Became>> = cuts
            .iter()
            .map(|cut| cut.steps.iter().map(|step| step.became).collect())
            .collect();
        assert_eq!(
            became,
            [
                vec![Became::NotDone, Became::Nothing, Became::Done],
                vec![Became::NotDone, Became::Nothing, Became::Done],
                vec![Became::NotDone, Became::NotDone, Became::Done],
            ]
        );
        assert!(cuts[1].steps[0].why.contains("-accessor def"), "{cuts:?}");
        assert!(cuts[2].steps[0].why.contains("-accessor ghi"), "{cuts:?}");
        assert!(
            cuts[2].steps[1].why.contains("put that in again"),
            "{cuts:?}"
        );
        let on_disk = Store::read_only(folder.path());
        assert_eq!(on_disk.read(|content| content.revoked.len()), 3);
        assert_eq!(
            outside.lock().living(),
            0,
            "the login that opened the credd too"
        );
    }
}
