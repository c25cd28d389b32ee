//! Single operations at the credd of one pool: the tool's push, ours with a full authentication, ours in a session.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use htcondor_cedar::{AccessToken, Address, Collector, Credd, Credential, Kind, Query, Tls};
use nix::sys::resource::{UsageWho, getrusage};
use tokio::task::JoinSet;

use super::Sizes;
use crate::bench::figures::{Bound, Figure};
use crate::bench::progress::Progress;
use crate::chain::login::Login;
use crate::chain::{Chain, Lives, installed};
use crate::ended;
use crate::pool::Pool;
use crate::sandbox;

/// Deadline of each operation.
const WITHIN: Duration = Duration::from_secs(20);
/// Connections that push at once.
const CONNECTIONS: u32 = 4;
/// Account whose credentials are stored.
const ACCOUNT: &str = "cmsprod";

/// Mean of an operation.
#[derive(Clone, Copy, Debug)]
struct Needed {
    whole: Duration,
    processor: Duration,
}

pub(super) async fn measure(sizes: &Sizes, progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    let folder = tempfile::tempdir_in(sandbox::run_folder()?)?;
    let chain = Chain::start(folder.path(), Lives::HOUR).await?;
    chain.kdc.use_here()?;
    progress.say("operations: starts the pool");
    let options = installed::pool_options(&chain)?;
    let pool = Pool::start(&folder.path().join("pool"), &chain.ca, &options).await?;
    let site = Site::new(&chain, &pool).await?;

    let number = sizes.operations;
    progress.say(format!("operations: {number} pushes by condor_store_cred"));
    let tool = mean(UsageWho::RUSAGE_CHILDREN, number, async || {
        site.by_tool().await
    })
    .await?;
    progress.say(format!(
        "operations: {number} pushes with a full authentication"
    ));
    let ourselves = UsageWho::RUSAGE_SELF;
    let full = mean(ourselves, number, async || site.push(&site.credd()).await).await?;
    progress.say(format!(
        "operations: {number} pushes and queries in a session"
    ));
    let credd = site.credd();
    site.push(&credd).await?;
    let resumed = mean(ourselves, number, async || site.push(&credd).await).await?;
    let query = mean(ourselves, number, async || site.query(&credd).await).await?;
    progress.say(format!("operations: {CONNECTIONS} connections at once"));
    let rate = site.at_once(sizes.each).await?;
    pool.stop().await?;

    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    let figure =
        |name: &str, what: &str, time: Duration| Figure::new(name, what, "ms", milliseconds(time));
    let bounded = |figure: Figure, most: f64| figure.bound(Bound::AtMost(most));
    Ok(vec![
        figure(
            "tool_full_part",
            "push with a full authentication, as a part of the tool's",
            full.whole,
        )
        .beside(milliseconds(tool.whole))
        .bound(Bound::Ratio(1.0 / 3.0)),
        figure(
            "tool_full_processor_part",
            "the same: processor time",
            full.processor,
        )
        .beside(milliseconds(tool.processor))
        .bound(Bound::Ratio(1.0 / 20.0)),
        bounded(
            figure("full", "push with a full authentication", full.whole),
            10.0,
        ),
        bounded(
            figure("full_processor", "the same: processor time", full.processor),
            1.0,
        ),
        bounded(figure("resumed", "push in a session", resumed.whole), 1.0),
        bounded(
            figure(
                "resumed_processor",
                "the same: processor time",
                resumed.processor,
            ),
            0.2,
        ),
        bounded(figure("query", "query in a session", query.whole), 1.0),
        bounded(
            figure(
                "query_processor",
                "the same: processor time",
                query.processor,
            ),
            0.2,
        ),
        Figure::new(
            "rate",
            "pushes a second in the sessions of four connections",
            "",
            rate,
        )
        .bound(Bound::AtLeast(1000.0)),
    ])
}

/// Mean time of an operation, and its processor time by the kernel's account.
async fn mean(
    who: UsageWho,
    number: u32,
    mut operation: impl AsyncFnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Needed> {
    let before = processor(who)?;
    let began = Instant::now();
    for _ in 0..number {
        operation().await?;
    }
    let whole = began.elapsed() / number;
    let processor = processor(who)?.saturating_sub(before) / number;
    Ok(Needed { whole, processor })
}

fn processor(who: UsageWho) -> anyhow::Result<Duration> {
    let used = getrusage(who).context("the kernel says what was used")?;
    let time = |part: nix::sys::time::TimeVal| {
        let micros = part.tv_sec() * 1_000_000 + part.tv_usec();
        Duration::from_micros(micros.unsigned_abs())
    };
    Ok(time(used.user_time()) + time(used.system_time()))
}

/// A credd with what is stored there and what opens it.
struct Site<'a> {
    pool: &'a Pool,
    address: Address,
    tls: Tls,
    token: String,
    secret: String,
}

impl<'a> Site<'a> {
    async fn new(chain: &Chain, pool: &'a Pool) -> anyhow::Result<Self> {
        let login = Login::new(chain, ACCOUNT, "default").await?;
        let collector = Collector::new(pool.collector().parse()?);
        let ads = collector.query(&Query::new(Kind::Credd), WITHIN).await?;
        let address = ads.first().and_then(|ad| ad.string("MyAddress"));
        let site = Self {
            pool,
            address: address.context("the collector knows no credd")?.parse()?,
            tls: Tls::new(chain.ca.roots()?, pool.host())?,
            token: login.access_token().await?,
            secret: login.secret(),
        };
        fs::write(pool.path("/tmp/secret"), &site.secret)?;
        Ok(site)
    }

    /// The credd without a session.
    fn credd(&self) -> Credd {
        let token = AccessToken::new(self.token.clone(), Duration::from_mins(30));
        Credd::new(self.address.clone(), self.tls.clone(), token)
    }

    async fn push(&self, credd: &Credd) -> anyhow::Result<()> {
        credd
            .store(&credential(), self.secret.as_bytes(), WITHIN)
            .await?;
        Ok(())
    }

    async fn query(&self, credd: &Credd) -> anyhow::Result<()> {
        let done = credd.query(&credential(), WITHIN).await?;
        ensure!(done.outcome.is_some(), "it is stored: {done:?}");
        Ok(())
    }

    async fn by_tool(&self) -> anyhow::Result<()> {
        let mut command = self.pool.command("root", "condor_store_cred");
        command
            .args(["add-oauth", "-s", "cms", "-i", "/tmp/secret"])
            .env("_CONDOR_SEC_CLIENT_AUTHENTICATION_METHODS", "SCITOKENS")
            .env("BEARER_TOKEN", &self.token);
        let output = ended::output(command, WITHIN).await?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Pushes a second of several connections at once, each in a session of its own.
    async fn at_once(&self, each: u32) -> anyhow::Result<f64> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let credd = self.credd();
            self.push(&credd).await?;
            connections.push(credd);
        }
        let began = Instant::now();
        let mut all = JoinSet::new();
        for credd in connections {
            let secret = self.secret.clone();
            all.spawn(async move {
                for _ in 0..each {
                    credd
                        .store(&credential(), secret.as_bytes(), WITHIN)
                        .await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(ended) = all.join_next().await {
            ended.context("a connection's task ended early")??;
        }
        Ok(f64::from(CONNECTIONS * each) / began.elapsed().as_secs_f64())
    }
}

fn credential() -> Credential {
    Credential {
        account: Some(ACCOUNT.to_owned()),
        ..Credential::new("cms")
    }
}
