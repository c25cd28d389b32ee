//! A single run of a bastion that has nothing delivered yet, with either transport: how long until all is good.

use std::fs;

use anyhow::{Context as _, ensure};

use super::Sizes;
use crate::bench::bastion::accounts::Site;
use crate::bench::bastion::push::{Needed, by_bastion, empty, pools};
use crate::bench::bastion::raw;
use crate::bench::figures::{Bound, Figure};
use crate::bench::progress::Progress;
use crate::chain::{Lives, installed};
use crate::pool::Pool;

/// Where the bastion keeps what it knows.
const STATE: &str = "/var/lib/token-bastion";

/// The way to the credds, as it is configured.
#[derive(Clone, Copy, Debug)]
enum Transport {
    Condor,
    Cedar,
}

pub(super) async fn measure(sizes: &Sizes, progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    let all = sizes.schedds;
    let (one, _) = all.split_at(1);
    let most = sizes.few.max(sizes.many / all.len());
    let site = Site::set(most, Lives::HOUR).await?;
    progress.say("fleet: starts the pools");
    let pools = pools(&site, all).await?;
    let fleet = Fleet { site, pools };
    // Vault has every access token, so that the issuer's work is in no figure.
    raw::requests(&fleet.site, 1, 1).await?;

    let mut figures = Vec::new();
    for (name, schedds) in [("one", one), ("all", all)] {
        let accounts = sizes.few / schedds.len();
        let deliveries = accounts * schedds.len();
        let what = format!("{deliveries} deliveries to {} credds", schedds.len());
        progress.say(format!("fleet: {what}"));
        let theirs = fleet.run(Transport::Condor, accounts, schedds).await?;
        let ours = fleet.run(Transport::Cedar, accounts, schedds).await?;
        let words = format!("{what}, pushed and verified by a bastion");
        let time = |needed: Needed| needed.whole.as_secs_f64();
        let processor = |needed: Needed| (needed.own + needed.tool).as_secs_f64();
        let whole = Figure::new(&format!("fleet_{name}"), words, "s", time(ours));
        figures.push(whole.beside(time(theirs)));
        let name = format!("fleet_{name}_processor");
        let words = "the same: processor time with HTCondor's tools, where these are used";
        let used = Figure::new(&name, words, "s", processor(ours));
        figures.push(used.beside(processor(theirs)));
    }
    let accounts = sizes.many / all.len();
    let what = format!(
        "{} deliveries to {} credds",
        accounts * all.len(),
        all.len()
    );
    progress.say(format!("fleet: {what}"));
    let many = fleet.run(Transport::Cedar, accounts, all).await?;
    let words = format!("{what}, pushed and verified by a bastion");
    let many = Figure::new("fleet_many", words, "s", many.whole.as_secs_f64());
    figures.push(many.bound(Bound::Below(60.0)));
    for pool in fleet.pools {
        pool.stop().await?;
    }
    Ok(figures)
}

struct Fleet {
    site: Site,
    pools: Vec<Pool>,
}

impl Fleet {
    /// Has so many accounts delivered to these hosts, where nothing is known or stored yet.
    async fn run(
        &self,
        transport: Transport,
        accounts: usize,
        schedds: &[&str],
    ) -> anyhow::Result<Needed> {
        let first = self.pools.first().context("there is a schedd")?;
        for pool in &self.pools {
            empty(pool).await?;
        }
        let state = first.path(STATE);
        if state.exists() {
            fs::remove_dir_all(&state)?;
        }
        let command = installed::bastion(&self.site.chain, first)?;
        let way = match transport {
            Transport::Condor => "transport: condor".to_owned(),
            Transport::Cedar => format!("transport: cedar, collector: '{}'", first.collector()),
        };
        let places = installed::places(&format!("credds: [{}], {way}", schedds.join(", ")));
        let accounts = self.site.accounts.get(..accounts);
        let accounts = accounts.context("there are so many")?;
        for account in accounts {
            let name = format!("{account}.keytab");
            let keytab = places.keytabs.join(&name).display().to_string();
            fs::copy(self.site.chain.keytabs().join(&name), first.path(&keytab))?;
        }
        let schedule = "{check: \"*/10 * * * *\", spread: 5m}";
        let yaml = self.site.yaml_of(accounts, &places, 1, schedule);
        installed::configure(first, &yaml)?;
        let needed = by_bastion(command, &self.site).await?;
        for pool in self
            .pools
            .iter()
            .filter(|pool| schedds.contains(&pool.host()))
        {
            let folder = pool.credentials();
            let is_served = |account: &&String| folder.join(account).join("cms.use").is_file();
            let there = accounts.iter().filter(is_served).count();
            ensure!(
                there == accounts.len(),
                "{there} are served at {}",
                pool.host()
            );
        }
        Ok(needed)
    }
}
