//! Everything of an account undone: its deliveries revoked, its refresh tokens at Vault forgotten.
//!
//! Always true: the refresh token goes last, for an access token made of it opens the credds where
//! something is to be deleted; while one of them does not answer it stays, unless that is not
//! waited for. Every step may be done again; what is done already is found so.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::revoke::{self, RevocationReport, Step, StepObject, StepOutcome};
use crate::model::delivery::{Credential, DeliveryId};
use crate::model::grants;
use crate::model::problem::Problem;
use crate::vault::sessions::Sessions;
use crate::vault::{Login, Vault};

/// Report on an offboarded account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offboarded {
    /// The account.
    pub account: String,
    /// Reports on its deliveries.
    pub deliveries: Vec<RevocationReport>,
    /// Steps at Vault.
    pub vault: Vec<Step>,
    /// Nothing is left to do.
    pub done: bool,
}

impl Offboarded {
    /// Of these steps.
    #[must_use]
    pub fn new(account: String, deliveries: Vec<RevocationReport>, vault: Vec<Step>) -> Self {
        let done = deliveries.iter().all(RevocationReport::is_done)
            && vault.iter().all(|step| step.outcome < StepOutcome::NotDone);
        Self {
            account,
            deliveries,
            vault,
            done,
        }
    }
}

/// The deliveries at whose schedds something is left that the refresh token is needed to delete.
#[must_use]
pub fn in_need(reports: &[RevocationReport]) -> Vec<&DeliveryId> {
    let is_left = |report: &&RevocationReport| {
        report
            .steps
            .iter()
            .any(|step| step.what == StepObject::Stored && step.outcome == StepOutcome::NotDone)
    };
    reports
        .iter()
        .filter(is_left)
        .map(|report| &report.id)
        .collect()
}

/// The steps of refresh tokens that are kept because they are needed.
#[must_use]
pub fn kept(credentials: &[Arc<Credential>], needed: &[&DeliveryId]) -> Vec<Step> {
    let schedds: BTreeSet<&str> = needed.iter().map(|id| id.schedd.as_str()).collect();
    let why = format!(
        "kept, for an access token made of it may have to open {} where something is left to delete: run this again when \
         it answers, or with --forget-anyway, and have its admin delete what is there",
        Vec::from_iter(schedds).join(", ")
    );
    each_grant(credentials)
        .iter()
        .map(|credential| Step::new(what(credential), StepOutcome::NotDone, why.clone()))
        .collect()
}

/// Makes Vault forget the refresh tokens of credentials; each is read back.
pub(crate) async fn forget(
    sessions: &Sessions<impl Vault>,
    credentials: &[Arc<Credential>],
) -> Vec<Step> {
    let mut steps = Vec::new();
    for credential in each_grant(credentials) {
        let step = match forget_one(sessions, &credential).await {
            Ok((outcome, why)) => Step::new(what(&credential), outcome, why),
            Err(problem) => {
                let why = revoke::run_again(&problem.to_string());
                Step::new(what(&credential), StepOutcome::NotDone, why)
            }
        };
        steps.push(step);
    }
    steps
}

/// Each refresh token once, whatever services use it.
pub(crate) fn each_grant(credentials: &[Arc<Credential>]) -> Vec<Arc<Credential>> {
    let mut each: Vec<Arc<Credential>> = Vec::new();
    for credential in credentials {
        if each
            .iter()
            .all(|known| known.full_url != credential.full_url)
        {
            each.push(Arc::clone(credential));
        }
    }
    each
}

fn what(credential: &Credential) -> StepObject {
    StepObject::RefreshToken {
        grant: grants::name(credential),
    }
}

async fn forget_one(
    sessions: &Sessions<impl Vault>,
    credential: &Credential,
) -> Result<(StepOutcome, &'static str), Problem> {
    let vault = &sessions.logins.vault;
    let login = Login::from(&sessions.login(credential).await?);
    let result = async {
        if !vault.has_grant(credential, &login.token).await? {
            return Ok((StepOutcome::Nothing, "Vault says that none is stored (404)"));
        }
        vault.forget_grant(credential, &login.token).await?;
        if vault.has_grant(credential, &login.token).await? {
            let why = "Vault took the request and still has it; have its admins delete it";
            return Ok((StepOutcome::NotDone, why));
        }
        let why = "forgotten; read back, Vault says that none is stored (404)";
        Ok((StepOutcome::Done, why))
    }
    .await;
    // It was for this alone.
    sessions.logins.end(credential, &login).await;
    result
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fakes::Outside;
    use crate::fixtures::credential;

    fn credentials() -> Vec<Arc<Credential>> {
        let one = credential("cmsprod", "cms_crab");
        // Another service with the same refresh token.
        let reduced = Credential {
            service: "reduced".to_owned(),
            scopes: vec!["storage.read:/".to_owned()],
            ..one.clone()
        };
        vec![
            Arc::new(one),
            Arc::new(reduced),
            Arc::new(credential("cmsprod", "cms")),
        ]
    }

    fn outcome(steps: &[Step]) -> Vec<StepOutcome> {
        steps.iter().map(|step| step.outcome).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn each_refresh_token_is_forgotten_once_and_a_second_run_finds_nothing() {
        let outside = Outside::new();
        let parts = outside.parts();
        let steps = forget(&parts.sessions, &credentials()).await;
        assert_eq!(outcome(&steps), [StepOutcome::Done, StepOutcome::Done]);
        assert_eq!(outside.lock().forgotten.len(), 2);
        let steps = forget(&parts.sessions, &credentials()).await;
        assert_eq!(
            outcome(&steps),
            [StepOutcome::Nothing, StepOutcome::Nothing]
        );
        assert_eq!(outside.lock().living(), 0, "the logins are revoked");
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_that_an_outage_keeps_alive_is_recorded() {
        for milliseconds in 0..40 {
            let outside = Outside::new();
            let parts = outside.parts();
            let forgotten = async {
                forget(&parts.sessions, &credentials()[..1]).await;
            };
            let outage = async {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                outside.lock().vault_down = true;
            };
            tokio::join!(forgotten, outage);
            let living = outside.lock().all_living();
            let known = |accessor: &String| {
                let store = &parts.store;
                store.read(|content| content.logins.contains_key(accessor))
            };
            assert!(living.iter().all(known), "after {milliseconds} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_vault_that_is_down_is_said() {
        let outside = Outside::new();
        outside.lock().vault_down = true;
        let steps = forget(&outside.parts().sessions, &credentials()).await;
        assert_eq!(
            outcome(&steps),
            [StepOutcome::NotDone, StepOutcome::NotDone]
        );
        assert!(steps[0].why.contains("connection refused"), "{steps:?}");
    }

    #[test]
    fn the_refresh_token_stays_while_it_is_needed_to_delete() {
        let report = |schedd: &str, outcome| RevocationReport {
            id: DeliveryId {
                account: "cmsprod".to_owned(),
                service: "cms".to_owned(),
                schedd: schedd.to_owned(),
            },
            steps: vec![Step::new(StepObject::Stored, outcome, "why")],
        };
        let reports = vec![
            report("ap1", StepOutcome::Done),
            report("ap2", StepOutcome::NotDone),
            report("ap3", StepOutcome::NotDone),
            // Of another service.
            report("ap2", StepOutcome::NotDone),
        ];
        let needed = in_need(&reports);
        let schedds: Vec<_> = needed.iter().map(|id| id.schedd.as_str()).collect();
        assert_eq!(schedds, ["ap2", "ap3", "ap2"]);
        let steps = kept(&credentials(), &needed);
        assert_eq!(
            outcome(&steps),
            [StepOutcome::NotDone, StepOutcome::NotDone]
        );
        assert!(steps[0].why.contains("open ap2, ap3 where"), "{steps:?}");
        let whole = Offboarded::new("cmsprod".to_owned(), reports, steps);
        assert!(!whole.done);
    }
}
