//! Steps of revocations: what is done, and what is said.

use super::*;

pub(crate) fn step(outcome: StepOutcome) -> Step {
    let accessor = "abc".to_owned();
    Step::new(StepObject::VaultToken { accessor }, outcome, "why")
}

pub(crate) fn report(steps: Vec<Step>) -> RevocationReport {
    let id = DeliveryId {
        account: "a".to_owned(),
        service: "cms".to_owned(),
        schedd: "ap1".to_owned(),
    };
    RevocationReport { id, steps }
}

#[test]
fn one_step_that_is_not_done_is_a_revocation_that_is_not() {
    assert!(report(vec![]).is_done());
    assert!(
        report(vec![
            step(StepOutcome::Done),
            step(StepOutcome::Nothing),
            step(StepOutcome::Left)
        ])
        .is_done()
    );
    assert!(!report(vec![step(StepOutcome::Done), step(StepOutcome::NotDone)]).is_done());
}

#[test]
fn an_order_that_failed_is_not_said_to_be_tried_again() {
    for problem in [
        "the Vault is sealed; it is tried again",
        "the Vault is sealed",
    ] {
        assert_eq!(
            run_again(problem),
            "the Vault is sealed; run this again then"
        );
    }
}

#[test]
fn scripts_read_the_same() {
    let whole = report(vec![step(StepOutcome::NotDone)]);
    let json = serde_json::to_string(&whole).unwrap();
    assert_eq!(
        json,
        r#"{"account":"a","service":"cms","schedd":"ap1","steps":[{"what":"vault_token","accessor":"abc","became":"not_done","why":"why"}]}"#
    );
    assert_eq!(
        serde_json::from_str::<RevocationReport>(&json).unwrap(),
        whole
    );
}
