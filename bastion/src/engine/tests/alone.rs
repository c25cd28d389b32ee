//! Orders that are carried out where no service runs, on paused time.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::{mpsc, oneshot};

use super::super::*;
use super::service::{HOUR, Service, at, of};
use crate::engine::revoke::{RevocationReport, StepOutcome};
use crate::fakes::{FakeSchedds, Outside};
use crate::fixtures::{config, credd, delivery};
use crate::model::delivery::Selection;
use crate::model::records::{InstalledToken, Life, TokenRecord, TokenRecords};
use crate::store::Store;

fn records(accessor: &str, expires: Timestamp) -> TokenRecords {
    let token = TokenRecord {
        accessor: accessor.to_owned(),
        life: Life {
            issued: Timestamp::UNIX_EPOCH,
            expires,
        },
    };
    TokenRecords {
        current: Some(Box::new(InstalledToken {
            token,
            stored: None,
            requested: String::new(),
            access_seconds: None,
            access_reads: Vec::new(),
            subject: None,
            jobs_safe_until: None,
        })),
        others: Vec::new(),
    }
}

/// Orders a revocation of an engine that only carries out orders, some time after it began.
async fn revoke(
    mut engine: Engine<Outside, FakeSchedds>,
    selection: Selection,
    begun: Duration,
) -> Vec<RevocationReport> {
    let (commands, received) = mpsc::channel(1);
    let (answer, answered) = oneshot::channel();
    let ask = async {
        tokio::time::sleep(begun).await;
        let command = Command::Revoke(selection, false, answer);
        commands.send(command).await.ok().unwrap();
        let reports = answered.await.unwrap();
        drop(commands);
        reports
    };
    let (reports, ()) = tokio::join!(ask, engine.run_orders(received));
    reports
}

fn outcomes(reports: &[RevocationReport]) -> Vec<Vec<StepOutcome>> {
    let outcomes = |report: &RevocationReport| {
        let steps = report.steps.iter();
        steps.map(|step| step.outcome).collect()
    };
    reports.iter().map(outcomes).collect()
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
    let store = Store::open(folder.path()).unwrap();
    store.record(&config.deliveries[0].id, records("abc", later), now);
    store.record(&gone, records("def", later), now);
    // A token of another account does not open the credd for this one.
    let mut stranger = gone.clone();
    stranger.account = "b".to_owned();
    store.record(&stranger, records("ghi", later), now);
    let selection = Selection {
        schedd: Some("ap1".to_owned()),
        ..Selection::default()
    };
    let parts = outside.parts_with(store);
    let engine = Engine::new(&config, parts, TimeZone::UTC);
    let reports = revoke(engine, selection, Duration::ZERO).await;
    assert_eq!(
        outcomes(&reports),
        [
            vec![
                StepOutcome::NotDone,
                StepOutcome::Nothing,
                StepOutcome::Done
            ],
            vec![
                StepOutcome::NotDone,
                StepOutcome::Nothing,
                StepOutcome::Done
            ],
            vec![
                StepOutcome::NotDone,
                StepOutcome::NotDone,
                StepOutcome::Done
            ],
        ]
    );
    assert!(
        reports[1].steps[0].why.contains("-accessor def"),
        "{reports:?}"
    );
    assert!(
        reports[2].steps[0].why.contains("-accessor ghi"),
        "{reports:?}"
    );
    assert!(
        reports[2].steps[1].why.contains("put that in again"),
        "{reports:?}"
    );
    let on_disk = Store::read_only(folder.path());
    assert_eq!(on_disk.read(|content| content.revoked.len()), 3);
    assert_eq!(
        outside.lock().living(),
        0,
        "the login that opened the credd too"
    );
}

#[tokio::test(start_paused = true)]
async fn a_revocation_that_is_not_finished_waits_for_a_service_or_for_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let outside = Outside::new();
    let wanted = || vec![at("a", "ap1"), at("b", "ap1")];
    let service = Service::start_in(Some(folder.path()), &outside, wanted());
    tokio::time::sleep(HOUR).await;
    outside.lock().schedds_down.insert("ap1".to_owned());
    service.revoke(of(Some("a"), None)).await;
    service.stop().await;
    outside.lock().schedds_down.clear();

    let engine = || {
        let parts = outside.parts_with(Store::open(folder.path()).unwrap());
        Engine::new(&config(wanted()), parts, TimeZone::UTC)
    };
    let done = [StepOutcome::Done, StepOutcome::Done];
    let reports = revoke(engine(), of(Some("b"), None), HOUR).await;
    assert_eq!(outcomes(&reports)[0][1..], done, "{reports:?}");
    assert_eq!(outside.lock().stored.len(), 1, "that of a");
    let reports = revoke(engine(), of(Some("a"), None), HOUR).await;
    assert_eq!(outcomes(&reports)[0][1..], done, "{reports:?}");
    assert!(outside.lock().stored.is_empty());
}
