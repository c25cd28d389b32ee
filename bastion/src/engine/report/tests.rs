//! Lines and problems of reports, and their words.

use std::sync::Arc;

use super::*;
use crate::engine::Status;
use crate::engine::attempt::Tokens;
use crate::model::delivery::Delivery;
use crate::model::problem::{Cause, Kind};
use crate::policy::plan::State;
use crate::policy::plan::outlook::{PlannedAction, PlannedStep, Reason};

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A good delivery of `cms` for an account at `ap1`.
pub(crate) fn good(account: &str) -> Line {
    let target = crate::model::delivery::Target::Directory("/creds".into());
    let delivery = crate::fixtures::delivery(account, "cms", "ap1", target);
    Line {
        state: State::Good,
        vault_token_expires: Some(at(604_800)),
        vault_token_seconds_left: Some(604_800),
        accessor: Some("accessor".to_owned()),
        access_token_expires: Some(at(1200)),
        last_success: Some(at(0)),
        tries: 1,
        jobs_have_token: true,
        jobs_safe_until: Some(at(1200)),
        ..fresh(delivery)
    }
}

/// Nothing was done for it yet.
fn fresh(delivery: Delivery) -> Line {
    let planned = PlannedStep {
        step: PlannedAction::Observe,
        why: Reason::Start,
        at: at(600),
    };
    let status = Status::new(Arc::new(delivery), None, &Tokens::default());
    Line::new(&status, &planned, at(0))
}

/// One that failed, and is tried again after a minute.
pub(crate) fn failed(account: &str, cause: Cause, kind: Kind) -> Line {
    Line {
        state: State::Failed,
        problem: Some(DeliveryProblem {
            cause,
            kind,
            remedy: kind.remedy(),
            message: "it went wrong; put it right".to_owned(),
            since: at(0),
            attempts: 3,
        }),
        next_try: Some(at(60)),
        ..good(account)
    }
}

#[test]
fn a_selection_that_fits_nothing_is_answered_with_the_nearest_name() {
    let report = Report::of(vec![good("cmsprod"), good("crabtw")], at(0));
    let selection = |account: &str, service: Option<&str>| Selection {
        account: Some(account.to_owned()),
        service: service.map(str::to_owned),
        schedd: None,
    };
    assert_eq!(
        report.only(&selection("cmsprot", None)).unwrap_err(),
        "no delivery has account \"cmsprot\"; did you mean \"cmsprod\"?"
    );
    assert_eq!(
        report.only(&selection("nobody", None)).unwrap_err(),
        "no delivery has account \"nobody\"; see `token-bastion status` for those that there are"
    );
    let other = crate::fixtures::delivery(
        "x",
        "cms_crab",
        "ap2",
        crate::model::delivery::Target::Directory("/creds".into()),
    );
    let other = fresh(other);
    let two = Report::of(vec![good("cmsprod"), other], at(0));
    assert_eq!(
        two.only(&selection("cmsprod", Some("cms_crab")))
            .unwrap_err(),
        "there are such names, but no delivery has all of them"
    );
    let one = report.only(&selection("crabtw", None)).unwrap();
    assert_eq!(one.deliveries.len(), 1);
}

#[test]
fn a_report_is_read_back_from_its_json() {
    let cause = Cause::Vault("https://v".to_owned());
    let report = Report::of(vec![good("a"), failed("b", cause, Kind::VaultDown)], at(5));
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
}

#[test]
fn nothing_is_planned_at_a_schedd_that_is_gone() {
    let delivery = crate::fixtures::delivery("a", "cms", "ap1", crate::fixtures::credd("ap1"));
    let mut status = Status::new(Arc::new(delivery), None, &Tokens::default());
    let planned = PlannedStep {
        step: PlannedAction::Observe,
        why: Reason::Start,
        at: at(600),
    };
    assert_eq!(Line::new(&status, &planned, at(0)).next_at, Some(at(600)));
    status.gone = Some(at(0));
    assert_eq!(Line::new(&status, &planned, at(0)).next_at, None);
}
