//! A schedd's queue, asked and changed with the site's own `condor_q` and `condor_release`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use htvault::AccessToken;

use super::Held;
use super::tool::{self, Call, Said, Tools};
use super::whereabouts::Place;
use crate::delivery::{Delivery, Target};
use crate::held::{self, HeldJobs};
use crate::problem::{Cause, Kind, Problem};

const LIMIT: Duration = Duration::from_mins(1);

/// The tools.
#[derive(Debug)]
pub(super) struct Queue {
    tools: Arc<Tools>,
}

impl Queue {
    pub(super) fn new(tools: Arc<Tools>) -> Self {
        Self { tools }
    }

    /// Which of these accounts have held jobs.
    pub(super) async fn holders(
        &self,
        delivery: &Delivery,
        place: Option<&Place>,
        opener: Option<&AccessToken>,
        accounts: &BTreeSet<String>,
    ) -> Result<Option<BTreeSet<String>>, Problem> {
        let Some(schedd) = name(delivery, place) else {
            return Ok(None);
        };
        let constraint = held::constraint(accounts.iter().map(String::as_str));
        let owners = self.list(delivery, &schedd, &constraint, "Owner", opener);
        let owners = owners.await?;
        Ok(Some(held::owners(&owners)))
    }

    /// Counts held jobs, and releases those that need nothing but `release`.
    pub(super) async fn held(
        &self,
        delivery: &Delivery,
        place: Option<&Place>,
        opener: Option<&AccessToken>,
        release: Option<&BTreeSet<String>>,
    ) -> Result<Option<Held>, Problem> {
        let Some(schedd) = name(delivery, place) else {
            return Ok(None);
        };
        let account = &delivery.id.account;
        let constraint = held::constraint([account.as_str()]);
        let before = self.ask(delivery, &schedd, &constraint, opener).await?;
        let releasable = release.and_then(|services| before.releasable(account, services));
        let Some(releasable) = releasable else {
            return Ok(Some(Held {
                left: before.count(),
                released: 0,
            }));
        };
        let arguments = vec!["-name", &schedd, "-constraint", &releasable];
        let said = self
            .run("condor_release", arguments, delivery, opener)
            .await?;
        if !said.success {
            return Err(failure(delivery, "released", &said));
        }
        let after = self.ask(delivery, &schedd, &constraint, opener).await?;
        Ok(Some(Held {
            left: after.count(),
            released: before.count().saturating_sub(after.count()),
        }))
    }

    async fn ask(
        &self,
        delivery: &Delivery,
        schedd: &str,
        constraint: &str,
        opener: Option<&AccessToken>,
    ) -> Result<HeldJobs, Problem> {
        let needed = "OAuthServicesNeeded";
        let lines = self.list(delivery, schedd, constraint, needed, opener);
        Ok(HeldJobs::read(&lines.await?))
    }

    /// An attribute of each job, one a line.
    async fn list(
        &self,
        delivery: &Delivery,
        schedd: &str,
        constraint: &str,
        attribute: &str,
        opener: Option<&AccessToken>,
    ) -> Result<String, Problem> {
        let arguments = vec![
            "-name",
            schedd,
            "-allusers",
            "-constraint",
            constraint,
            "-af",
            attribute,
        ];
        let said = self.run("condor_q", arguments, delivery, opener).await?;
        if said.success {
            Ok(said.stdout)
        } else {
            Err(failure(delivery, "counted", &said))
        }
    }

    async fn run(
        &self,
        tool: &'static str,
        arguments: Vec<&str>,
        delivery: &Delivery,
        opener: Option<&AccessToken>,
    ) -> Result<Said, Problem> {
        let call = Call {
            tool,
            arguments,
            environment: tool::environment(delivery, opener),
            limit: LIMIT,
            ..Call::default()
        };
        self.tools.run(call).await.map_err(|silence| {
            let (kind, message) = silence.explain("the schedd");
            Problem::new(Cause::schedd(delivery), kind, message)
        })
    }
}

/// The schedd's name for the tools; `None` when only an address is known, which they do not take.
fn name(delivery: &Delivery, place: Option<&Place>) -> Option<String> {
    let Target::Credd { host, .. } = &delivery.target else {
        return None;
    };
    let name = place.map_or(host.as_str(), |place| place.schedd.as_str());
    (!name.starts_with('<')).then(|| name.to_owned())
}

fn failure(delivery: &Delivery, what: &str, said: &Said) -> Problem {
    let lines = || said.stderr.lines().chain(said.stdout.lines());
    let telling = ["ERROR", "DENIED", "Failed", "failed", "Can't find"];
    let why = lines().find(|line| telling.iter().any(|word| line.contains(word)));
    let why = why.or_else(|| lines().find(|line| !line.trim().is_empty()));
    Problem::new(
        Cause::schedd(delivery),
        Kind::CreddRefused,
        format!(
            "held jobs cannot be {what}: {}; the account, or the super-user (QUEUE_SUPER_USERS), needs READ and WRITE at \
             the schedd",
            super::advice::words(why.unwrap_or("the tool failed without a word"))
        ),
    )
}
