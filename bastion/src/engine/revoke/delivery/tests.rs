//! Revocations against a Vault and schedds that behave, on paused time.

use super::*;
use crate::engine::Status;
use crate::engine::attempt::{AccessFacts, bring};
use crate::fakes::{FakeSchedds, Outside};
use crate::fixtures::{credd, delivery_to};
use crate::limits::{Extent, Limits, Rank};
use crate::model::delivery::Target;
use crate::model::records::Life;
use crate::policy::plan::Policy;
use crate::policy::plan::{PlanStep, PushReason};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

fn status(delivery: &Delivery) -> Status {
    Status::new(Arc::new(delivery.clone()), None, &Tokens::default())
}

async fn pushed(outside: &Outside, delivery: &Delivery) -> Tokens {
    let parts = outside.parts();
    let step = PlanStep::Push(PushReason::First);
    let policy = Policy {
        id: &delivery.id,
        lifetime: delivery.lifetime,
        renew_below: delivery.renew_below,
        spread: Duration::ZERO,
        prove_every: Duration::MAX,
        started: None,
    };
    let mut tokens = Tokens::default();
    let status = status(delivery);
    let limits = Limits::default();
    let permit = limits.admit(delivery, Extent::Login, Rank::default());
    let permit = permit.await.unwrap();
    let never = std::future::pending();
    let outcome = bring(&parts, &policy, &status, step, &mut tokens, &permit, never).await;
    outcome.result.unwrap().unwrap();
    tokens
}

const THEN: &str = "it is tried again";

fn here() -> Delivery {
    delivery_to(Target::Directory("/d".into()))
}

fn outcome(report: &RevocationReport) -> Vec<StepOutcome> {
    report.steps.iter().map(|step| step.outcome).collect()
}

/// Tokens that are left, and the report.
async fn revoke(
    parts: &Parts<Outside, FakeSchedds>,
    delivery: &Delivery,
    tokens: &Tokens,
    leave_schedd: bool,
) -> (Tokens, RevocationReport) {
    let (left, revoked) = super::revoke(parts, delivery, tokens, leave_schedd, THEN).await;
    (left, revoked.report)
}

#[tokio::test(start_paused = true)]
async fn the_token_dies_with_its_login_and_nothing_is_left_at_the_schedd() {
    let outside = Outside::new();
    let delivery = here();
    let tokens = pushed(&outside, &delivery).await;
    let parts = outside.parts();
    let (left, done) = revoke(&parts, &delivery, &tokens, false).await;
    assert_eq!(
        outcome(&done),
        [StepOutcome::Done, StepOutcome::Done],
        "{done:?}"
    );
    assert!(left.former.is_empty());
    assert_eq!(outside.lock().living(), 0);
    assert!(outside.lock().stored.is_empty());

    let again = revoke(&parts, &delivery, &left, false).await;
    assert_eq!(
        outcome(&again.1),
        [StepOutcome::Nothing, StepOutcome::Nothing]
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_of_before_a_restart_is_read_back_where_that_can_be() {
    let outside = Outside::new();
    let delivery = here();
    pushed(&outside, &delivery).await;
    let parts = outside.parts();
    let nothing = Tokens::default();
    let (_, done) = revoke(&parts, &delivery, &nothing, false).await;
    assert_eq!(outcome(&done), [StepOutcome::Done, StepOutcome::Done]);
    assert_eq!(outside.lock().living_children(), 0);
}

#[tokio::test(start_paused = true)]
async fn while_vault_is_down_only_what_is_named_is_deleted_and_a_later_run_revokes_the_rest() {
    let outside = Outside::new();
    let delivery = here();
    let tokens = pushed(&outside, &delivery).await;
    let records = status(&delivery).to_records(&tokens, &AccessFacts::default());
    drop(tokens);
    outside.lock().vault_down = true;
    let parts = outside.parts();

    // The state is lost, and whoever deleted the token would lose the last way to end it.
    let unknown = Tokens::default();
    let (left, done) = revoke(&parts, &delivery, &unknown, false).await;
    assert_eq!(outcome(&done), [StepOutcome::NotDone, StepOutcome::NotDone]);
    assert!(done.steps[1].why.starts_with("left there: "), "{done:?}");
    assert_eq!(outside.lock().stored.len(), 1);

    // The same with its name: it is deleted, and the admins can revoke it.
    let (named, done) = revoke(&parts, &delivery, &Tokens::recorded(&records), false).await;
    assert_eq!(
        outcome(&done),
        [StepOutcome::NotDone, StepOutcome::Done],
        "{done:?}"
    );
    let accessor = &records.current.as_ref().unwrap().token.accessor;
    let command = format!("bao token revoke -accessor {accessor}");
    assert!(done.steps[0].why.contains(&command), "{done:?}");
    assert_eq!(named.lost.len(), 1, "named to the next run too");

    // Another one was stored there since: what is recorded does not name it.
    outside.lock().vault_down = false;
    tokio::time::sleep(Duration::from_mins(1)).await;
    drop(pushed(&outside, &delivery).await);
    outside.lock().vault_down = true;
    let (_, done) = revoke(&parts, &delivery, &Tokens::recorded(&records), false).await;
    let all = [
        StepOutcome::NotDone,
        StepOutcome::NotDone,
        StepOutcome::NotDone,
    ];
    assert_eq!(outcome(&done), all, "{done:?}");

    outside.lock().vault_down = false;
    let (_, done) = revoke(&parts, &delivery, &left, false).await;
    assert_eq!(
        outcome(&done),
        [StepOutcome::Done, StepOutcome::Done],
        "{done:?}"
    );
    assert!(outside.lock().stored.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_token_known_by_its_accessor_is_named_with_the_admins_command_until_it_ends() {
    let outside = Outside::new();
    let delivery = delivery_to(credd("ap1"));
    let parts = outside.parts();
    let now = outside.lock().now();
    let named = |accessor: &str, expires| TokenRecord {
        accessor: accessor.to_owned(),
        life: Life {
            issued: Timestamp::UNIX_EPOCH,
            expires,
        },
    };
    let later = crate::model::moment::after(now, Duration::from_hours(1));
    let tokens = Tokens {
        lost: vec![named("old", now), named("abc", later)],
        ..Tokens::default()
    };
    let (left, done) = revoke(&parts, &delivery, &tokens, false).await;
    assert_eq!(left.lost.len(), 1, "named to the next run too");
    assert_eq!(outcome(&done), [StepOutcome::NotDone, StepOutcome::Nothing]);
    let why = &done.steps[0].why;
    assert!(why.contains("bao token revoke -accessor abc"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_schedd_that_does_not_answer_keeps_no_token_alive() {
    let outside = Outside::new();
    let delivery = here();
    let tokens = pushed(&outside, &delivery).await;
    outside.lock().schedds_down.insert("here".to_owned());
    let parts = outside.parts();
    let (left, done) = revoke(&parts, &delivery, &tokens, false).await;
    assert_eq!(outcome(&done), [StepOutcome::Done, StepOutcome::NotDone]);
    assert_eq!(outside.lock().living(), 0);

    outside.lock().schedds_down.clear();
    let (_, done) = revoke(&parts, &delivery, &left, false).await;
    assert_eq!(outcome(&done), [StepOutcome::Nothing, StepOutcome::Done]);
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_does_not_answer_is_said_and_the_token_is_kept_for_the_next_run() {
    let outside = Outside::new();
    let delivery = here();
    let tokens = pushed(&outside, &delivery).await;
    outside.lock().vault_down = true;
    let parts = outside.parts();
    let (left, done) = revoke(&parts, &delivery, &tokens, true).await;
    assert_eq!(outcome(&done), [StepOutcome::NotDone, StepOutcome::Left]);
    assert!(
        !outside.lock().stored.is_empty(),
        "nothing was asked of the schedd"
    );

    outside.lock().vault_down = false;
    let (left, done) = revoke(&parts, &delivery, &left, false).await;
    assert_eq!(outcome(&done), [StepOutcome::Done, StepOutcome::Done]);
    assert!(left.former.is_empty());
    assert_eq!(outside.lock().living(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_read_is_not_deleted_unread() {
    let outside = Outside::new();
    let delivery = here();
    drop(pushed(&outside, &delivery).await);
    outside.lock().schedds_down.insert("here".to_owned());
    let back = outside.clone();
    tokio::spawn(async move {
        // Between the first question and the next one.
        tokio::time::sleep(Duration::from_millis(7)).await;
        back.lock().schedds_down.clear();
    });
    // The state is lost.
    let parts = outside.parts();
    let (left, done) = revoke(&parts, &delivery, &Tokens::default(), false).await;
    assert_eq!(outcome(&done), [StepOutcome::Nothing, StepOutcome::NotDone]);
    assert_eq!(outside.lock().stored.len(), 1);
    let (_, done) = revoke(&parts, &delivery, &left, false).await;
    assert_eq!(outcome(&done), [StepOutcome::Done, StepOutcome::Done]);
    assert_eq!(outside.lock().living_children(), 0);
}
