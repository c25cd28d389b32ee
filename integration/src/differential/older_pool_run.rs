//! What two whole pools of the older HTCondor make of names with underscores: what is stored by
//! its credd, served by each monitor, and found by its jobs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;

use super::both_pools::BothPools;
use super::case::Outcome;
use super::folder_run::Pair;
use super::observe::Observation;
use super::pool_run::{Kind, USER, Whole};
use super::rig::Rig;
use crate::wait::FAR;

/// Starts both pools and lets each row happen to them.
pub async fn run(rig: &Rig, folder: &Path) -> anyhow::Result<BTreeMap<&'static str, Pair>> {
    let mut pools = BothPools::start(rig, folder).await?;
    pools.row("older-stored", Whole::stores).await?;
    pools.row("older-job", underscore).await?;
    pools.row("older-job-handle", handle).await?;
    pools.stop().await
}

/// A service with an underscore in its name, stored as a whole, and a job that asks for it.
async fn underscore(side: &Whole<'_>) -> anyhow::Result<Observation> {
    side.store("cms_crab", Kind::Good).await?;
    side.served("cms_crab").await?;
    runs(side, "use_oauth_services = cms_crab", "cms_crab").await
}

/// The handle of a service, stored as `condor_vault_storer` does, and a job that asks for it.
async fn handle(side: &Whole<'_>) -> anyhow::Result<Observation> {
    let top = r#"{"vault_url":"https://vault.test:8200/v1/secret/oauth/sts/cms/cmsprod:default"}"#;
    let store = "condor_store_cred add-oauth -s cms_read -S storage.read:/ -i -";
    let store: Vec<&str> = store.split(' ').collect();
    let answer = side.pool.run_with_input(USER, &store, top).await?;
    answer.success()?;
    side.served("cms_read").await?;
    let asks = "use_oauth_services = cms\ncms_oauth_permissions_read = storage.read:/";
    runs(side, asks, "cms_read").await
}

/// Runs a job that asks for a credential, and says what it finds.
async fn runs(side: &Whole<'_>, asks: &str, file: &str) -> anyhow::Result<Observation> {
    let looks = "ls $_CONDOR_CREDS; wc -l < $_CONDOR_CREDS/";
    let text = format!("executable = /bin/sh\narguments = \"-c '{looks}{file}.use'\"\n{asks}");
    let job = side.pool.submit(USER, &text).await?;
    let code = side.pool.wait_job(&job, FAR).await;
    let code = code.with_context(|| side.pool.logs(20))?;
    let output = side.pool.job_output(&job)?;
    let found: Vec<&str> = output.split_whitespace().collect();
    Ok(Observation {
        outcome: Outcome::Served,
        lines: BTreeSet::from([format!("the job ends with {code}: {}", found.join(" "))]),
    })
}
