//! The age of grants over runs of the service, on paused time.

use std::path::Path;

use super::super::*;
use super::{engine_in, run_for};
use crate::fakes::Outside;
use crate::fixtures::{config, delivery};
use crate::model::delivery::Selection;
use crate::model::delivery::{Delivery, Target};
use crate::model::grants::GrantLine;
use crate::store::Store;
use tokio::sync::oneshot;

const DAY: Duration = Duration::from_hours(24);

fn wanted(lifetime: Option<Duration>) -> Delivery {
    let target = Target::Directory("/creds".into());
    let mut wanted = delivery("a", "cms", "here", target);
    let mut credential = (*wanted.credential).clone();
    credential.grant.lifetime = lifetime;
    wanted.credential = Arc::new(credential);
    wanted
}

/// Runs a service for a while; the one grant as it tells it at the end.
async fn run(state: &Path, outside: &Outside, wanted: Delivery, time: Duration) -> GrantLine {
    let mut engine = engine_in(state, &config(vec![wanted]), outside);
    run_for(&mut engine, time).await;
    engine.report().grants.remove(0)
}

#[tokio::test(start_paused = true)]
async fn a_grant_ages_over_restarts_and_people_are_warned_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let outside = Outside::new();
    outside.lock().access_life = DAY;
    let begin = outside.lock().now();
    let line = run(folder.path(), &outside, wanted(Some(30 * DAY)), 10 * DAY).await;
    assert!(!line.warn, "{line:?}");
    assert_eq!(line.onboarded, None);
    let line = run(folder.path(), &outside, wanted(Some(30 * DAY)), 7 * DAY).await;
    assert!(line.warn, "{line:?}");
    let end = until(begin, line.may_end.unwrap());
    assert!(
        (30 * DAY..30 * DAY + Duration::from_mins(1)).contains(&end),
        "{end:?}"
    );
    let line = run(folder.path(), &outside, wanted(None), DAY).await;
    assert_eq!((line.may_end, line.warn), (None, false));
    assert_eq!(line.age_seconds.map(|age| age / 86_400), Some(17));
}

#[tokio::test(start_paused = true)]
async fn a_new_login_begins_a_new_age() {
    let folder = tempfile::tempdir().unwrap();
    let outside = Outside::new();
    outside.lock().access_life = DAY;
    run(folder.path(), &outside, wanted(Some(30 * DAY)), 29 * DAY).await;

    let list = vec![wanted(Some(30 * DAY))];
    let mut engine = engine_in(folder.path(), &config(list), &outside);
    let before = engine.report().grants.remove(0);
    assert!(before.warn);
    let said = crate::model::moment::after(outside.lock().now(), 20 * DAY);
    let account = Some("a".to_owned());
    let selection = Selection {
        account,
        ..Selection::default()
    };
    engine.onboarded(&selection, Some(said));
    let line = engine.report().grants.remove(0);
    assert_eq!((line.age_seconds, line.warn), (Some(0), false));
    // What the issuer said is earlier than what the configuration says.
    assert_eq!(line.may_end, Some(said));
    engine.parts().store.written(DAY).await.unwrap();
    let kept = Store::read_only(folder.path()).read(|content| content.grants.clone());
    assert_eq!(kept["cms/a:default"].stated_expiry, Some(said));
}

#[tokio::test(start_paused = true)]
async fn a_grant_given_elsewhere_after_a_refusal_is_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let outside = Outside::new();
    outside.lock().access_life = DAY;
    run(folder.path(), &outside, wanted(None), 29 * DAY).await;
    outside.lock().no_grant = true;
    let mut engine = engine_in(folder.path(), &config(vec![wanted(None)]), &outside);
    let (send, receive) = mpsc::channel(1);
    let story = async {
        tokio::time::sleep(10 * DAY).await;
        outside.lock().no_grant = false;
        tokio::time::sleep(DAY).await;
        send.send(Command::Stop).await.ok();
    };
    tokio::join!(engine.run(receive), story);
    assert!(engine.report().is_good());
    let line = engine.report().grants.remove(0);
    assert_eq!(line.onboarded, None);
    assert_eq!(
        line.age_seconds.map(|age| age.div_ceil(86_400)),
        Some(1),
        "{line:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_login_after_a_refusal_is_remembered_once_it_works() {
    let folder = tempfile::tempdir().unwrap();
    let outside = Outside::new();
    outside.lock().access_life = DAY;
    let target = Target::Directory("/other".into());
    let other = delivery("a", "cms", "other", target);
    outside.lock().no_grant = true;
    let mut engine = engine_in(folder.path(), &config(vec![wanted(None), other]), &outside);
    let (send, receive) = mpsc::channel(1);
    let story = async {
        tokio::time::sleep(Duration::from_hours(1)).await;
        outside.lock().no_grant = false;
        let (answer, answered) = oneshot::channel();
        let command = Command::Onboarded(Selection::default(), None, answer);
        send.send(command).await.ok().unwrap();
        assert_eq!(answered.await.unwrap().fault, None);
        tokio::time::sleep(Duration::from_hours(1)).await;
        send.send(Command::Stop).await.ok();
    };
    tokio::join!(engine.run(receive), story);
    assert!(engine.report().is_good());
    assert!(engine.report().grants[0].onboarded.is_some());
    engine.parts().store.written(DAY).await.unwrap();
    let kept = Store::read_only(folder.path()).read(|content| content.grants.clone());
    assert!(kept["cms/a:default"].first_worked.is_some());
}
