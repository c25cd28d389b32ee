//! The way to a credd: over IPv6, with a long round trip, from many connections, and to one that is killed in the middle
//! of a push.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use htcondor_cedar::{AccessToken, Address, Credd};
use integration::chain::Lives;
use integration::pool::Release;
use integration::relay::Relay;
use integration::wait;
use nix::sys::signal::{Signal, kill};
use tokio::task::JoinSet;

use super::FAR;
use super::site::{Site, WITHIN, credential};

/// Port of the relays.
const PORT: u16 = 9700;

/// The credd behind a relay at this address.
async fn behind(site: &Site, at: SocketAddr, token: &str) -> anyhow::Result<(Relay, Credd)> {
    let address = site.address().await?;
    let ip = address.host().parse().context("an IP address")?;
    let relay = Relay::start(at, SocketAddr::new(ip, address.port())).await?;
    let id = address.shared_port_id().context("no shared port")?;
    let relayed: Address = format!("<{at}?sock={id}>").parse()?;
    let token = AccessToken::new(token.to_owned(), FAR);
    Ok((relay, Credd::new(relayed, site.tls()?, token)))
}

#[tokio::test]
async fn a_credd_is_reached_over_ipv6_from_far_away_and_by_many_at_once() -> anyhow::Result<()> {
    let site = Site::start(Release::Current, Lives::HOUR, &[]).await?;
    let token = site.access_token("cmsprod", "default").await?;
    let secret = site.secret("cmsprod", "default").await?;
    let cms = credential("cmsprod", "cms");
    for ip in [Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()] {
        let at = SocketAddr::new(ip, PORT);
        let (relay, credd) = behind(&site, at, &token).await?;
        // A round trip of a tenth of a second.
        relay.delay(Duration::from_millis(50));
        for resumed in [false, true, true] {
            let began = Instant::now();
            let stored = credd.store(&cms, secret.as_bytes(), WITHIN).await?;
            println!("{at}, resumed {resumed}: {:?}", began.elapsed());
            assert_eq!(stored.resumed, resumed);
        }
        assert_eq!(site.stored("cmsprod", "cms")?.0, secret);
        // A network that is cut costs no more than the deadline.
        relay.cut(true);
        let cut = credd.query(&cms, Duration::from_secs(2)).await;
        let error = cut.err().context("nothing passes")?;
        ensure!(error.may_pass(), "{error:?}");
        relay.cut(false);
        credd.query(&cms, WITHIN).await?;
    }

    let mut all = JoinSet::new();
    for number in 0..16 {
        let credd = site.credd(&token).await?;
        let secret = secret.clone();
        let service = format!("cms{}", number % 4);
        all.spawn(async move {
            for _ in 0..20 {
                let own = credential("cmsprod", &service);
                credd.store(&own, secret.as_bytes(), WITHIN).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = all.join_next().await {
        ended??;
    }
    for number in 0..4 {
        assert_eq!(site.stored("cmsprod", &format!("cms{number}"))?.0, secret);
    }
    site.pool.stop().await
}

#[tokio::test]
async fn a_credd_that_is_killed_in_the_middle_of_a_push_has_the_old_or_the_new_credential()
-> anyhow::Result<()> {
    for release in [Release::Current, Release::Older] {
        // The master starts it anew at once, however often.
        let site = Site::start(release, Lives::HOUR, &["MASTER_BACKOFF_CEILING = 1"]).await?;
        let token = site.access_token("cmsprod", "default").await?;
        let mut before = site.secret("cmsprod", "default").await?;
        let cms = credential("cmsprod", "cms");
        let direct = site.credd(&token).await?;
        direct.store(&cms, before.as_bytes(), WITHIN).await?;
        let mut ended = [0, 0];
        for step in 0..8 {
            let new = site.secret("cmsprod", "default").await?;
            let at = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT);
            let (relay, credd) = behind(&site, at, &token).await?;
            relay.delay(Duration::from_millis(20));
            let is_resumed = step >= 4;
            if is_resumed {
                credd.query(&cms, WITHIN).await?;
            }
            let process = site.pool.process("condor_credd")?;
            let push = credd.store(&cms, new.as_bytes(), WITHIN);
            let killed = async {
                // Another step of the exchange each time: of a full one, then of one in a session.
                let part = if is_resumed {
                    20 * (step - 3) + 10
                } else {
                    60 * (step + 1)
                };
                wait::pass(Duration::from_millis(part)).await;
                kill(process, Signal::SIGKILL)
            };
            let (pushed, killed) = tokio::join!(push, killed);
            killed?;
            match &pushed {
                Ok(_) => ended[0] += 1,
                Err(error) => {
                    println!("{release:?}, step {step}: {error}");
                    ensure!(error.may_pass(), "{error:?}");
                    ended[1] += 1;
                }
            }
            let there = site.stored("cmsprod", "cms")?.0;
            ensure!(
                there == new || pushed.is_err() && there == before,
                "{there}"
            );
            // One retry is enough once its address is known again.
            wait::until("the credd to be back", FAR, async || {
                let credd = site.credd(&token).await?;
                credd.store(&cms, new.as_bytes(), WITHIN).await?;
                anyhow::Ok(())
            })
            .await?;
            assert_eq!(site.stored("cmsprod", "cms")?.0, new);
            before = new;
        }
        println!(
            "{release:?}: {} pushes went well, {} did not",
            ended[0], ended[1]
        );
        ensure!(ended[1] > 0, "no push was met");
        site.pool.stop().await?;
    }
    Ok(())
}
