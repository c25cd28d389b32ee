//! Orders that are carried out where no service runs, on paused time.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::{mpsc, oneshot};

use super::super::*;
use crate::engine::revoke::StepOutcome;
use crate::fakes::Outside;
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
            served: None,
            serves_until: None,
            jobs_safe_until: None,
        })),
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
    let mut engine = Engine::new(&config, parts, TimeZone::UTC);
    let (commands, received) = mpsc::channel(1);
    let (answer, answered) = oneshot::channel();
    let ask = async {
        let command = Command::Revoke(selection, false, answer);
        commands.send(command).await.ok().unwrap();
        let reports = answered.await.unwrap();
        drop(commands);
        reports
    };
    let (reports, ()) = tokio::join!(ask, engine.run_orders(received));
    let outcome: Vec<Vec<StepOutcome>> = reports
        .iter()
        .map(|report| report.steps.iter().map(|step| step.outcome).collect())
        .collect();
    assert_eq!(
        outcome,
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
