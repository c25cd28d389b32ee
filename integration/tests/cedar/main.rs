//! The crate htcondor-cedar with real credds and collectors of two releases, beside HTCondor's own tool.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

mod network;
mod site;

use std::fmt::Debug;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use htcondor_cedar::{
    AccessToken, Credd, Credential, Error, ErrorKind, Kind, Query, Refusal, Step, Stored, Tls,
};
use integration::ca::Ca;
use integration::chain::{ISSUER, Lives};
use integration::pool::Release;
use integration::wait;

use integration::wait::FAR;
use site::{Site, WITHIN, credential};

fn failed<T: Debug>(result: Result<T, Error>, kind: ErrorKind, step: Step) -> anyhow::Result<()> {
    let error = result.err().context("it went well")?;
    println!("{error}");
    ensure!((error.kind(), error.step()) == (kind, step), "{error:?}");
    Ok(())
}

async fn everything(release: Release) -> anyhow::Result<()> {
    let site = Site::start(release, Lives::HOUR, &[]).await?;
    let all = async {
        collected(&site).await?;
        stored(&site, release).await?;
        opened(&site).await?;
        refused(&site).await
    };
    all.await.with_context(|| site.pool.logs(15))?;
    site.pool.stop().await
}

/// What a collector knows.
async fn collected(site: &Site) -> anyhow::Result<()> {
    let collector = site.collector()?;
    let nobody = Query {
        requirements: Some(r#"Name == "nobody""#.to_owned()),
        ..Query::new(Kind::Schedd)
    };
    assert_eq!(collector.query(&nobody, WITHIN).await?, []);
    let schedds = collector.query(&Query::new(Kind::Schedd), WITHIN).await?;
    assert_eq!(schedds.len(), 1);
    assert_eq!(schedds[0].string("Name"), Some(site.pool.host()));
    assert_eq!(schedds[0].integer("TotalRunningJobs"), Some(0));
    let broken = Query {
        requirements: Some("Name == == 3".to_owned()),
        ..Query::new(Kind::Schedd)
    };
    failed(
        collector.query(&broken, WITHIN).await,
        ErrorKind::HungUp,
        Step::Command,
    )?;

    // One that is asked with a token.
    let token = site.access_token("cmsprod", "default").await?;
    let asked = collector.with_token(site.tls()?, AccessToken::new(token, FAR));
    let credds = asked.query(&Query::new(Kind::Credd), WITHIN).await?;
    assert_eq!(credds.len(), 1);
    Ok(())
}

/// What we store and what the tool stores are alike.
async fn stored(site: &Site, release: Release) -> anyhow::Result<()> {
    let token = site.access_token("cmsprod", "default").await?;
    let credd = site.credd(&token).await?;
    let cms = credential("cmsprod", "cms");
    let none = credd.query(&cms, WITHIN).await?;
    assert_eq!((none.outcome, none.resumed), (None, false), "{none:?}");
    assert!(none.user.starts_with("cmsprod@"), "{none:?}");
    assert!(none.version.contains(release.version()), "{none:?}");
    let secret = site.secret("cmsprod", "default").await?;
    let stored = credd.store(&cms, secret.as_bytes(), WITHIN).await?;
    assert!(stored.resumed, "{stored:?}");
    let ours = site.stored("cmsprod", "cms")?;
    assert_eq!(ours.0, secret);
    let times = wait::until("an access token for jobs", FAR, async || {
        let done = credd.query(&cms, WITHIN).await.map_err(|e| e.to_string())?;
        ensure_resumed(done.resumed)?;
        let times = done.outcome.ok_or("nothing")?;
        times
            .used
            .map(|_| times)
            .ok_or_else(|| format!("{times:?}"))
    })
    .await?;
    let stored = credd.store(&cms, secret.as_bytes(), WITHIN).await?;
    let since = times.used.unwrap();
    match release {
        Release::Current => assert_eq!(stored.outcome, Stored::Serving { since }),
        Release::Older => assert!(matches!(
            stored.outcome,
            Stored::Serving { .. } | Stored::Pending
        )),
    }
    credd.delete(&cms, WITHIN).await?;
    assert!(site.stored("cmsprod", "cms").is_err());
    credd.delete(&cms, WITHIN).await?;
    site.tool(
        &token,
        &["add-oauth", "-s", "cms", "-i", "/tmp/secret"],
        &secret,
    )
    .await?;
    assert_eq!(site.stored("cmsprod", "cms")?, ours);

    // A handle, scopes and an audience; without the account's name.
    let reduced = Credential {
        handle: Some("reduced".to_owned()),
        scopes: Some("storage.read:/".to_owned()),
        audience: Some("https://any.test".to_owned()),
        ..Credential::new("cms")
    };
    credd.store(&reduced, secret.as_bytes(), WITHIN).await?;
    let done = credd.query(&reduced, WITHIN).await?;
    println!("{done:?}");
    assert!(done.outcome.unwrap().stored.is_some(), "{done:?}");
    let all = credd.list(None, WITHIN).await?;
    println!("{all:?}");
    let names: Vec<_> = all.outcome.keys().map(String::as_str).collect();
    assert_eq!(names, ["cms", "cms_reduced"]);
    let other = Credential {
        scopes: Some("storage.modify:/".to_owned()),
        ..reduced.clone()
    };
    let mismatch = ErrorKind::Credd(Refusal::ScopesMismatch);
    failed(credd.query(&other, WITHIN).await, mismatch, Step::Command)?;

    // Another account, for itself and for the first.
    let crab_token = site.access_token("crabtw", "crab").await?;
    let crab = site.credd(&crab_token).await?;
    let crab_secret = site.secret("crabtw", "crab").await?;
    crab.store(
        &credential("crabtw", "cms_crab"),
        crab_secret.as_bytes(),
        WITHIN,
    )
    .await?;
    assert_eq!(site.stored("crabtw", "cms_crab")?.0, crab_secret);
    let foreign = crab.store(&cms, crab_secret.as_bytes(), WITHIN).await;
    failed(
        foreign,
        ErrorKind::Credd(Refusal::NotAllowed),
        Step::Command,
    )?;
    assert_eq!(site.stored("cmsprod", "cms")?, ours);

    Ok(())
}

/// With either TLS; not with certificates that are not the one meant.
async fn opened(site: &Site) -> anyhow::Result<()> {
    let token = site.access_token("cmsprod", "default").await?;
    let cms = credential("cmsprod", "cms");
    let open = |tls: Tls| async {
        let token = AccessToken::new(token.clone(), FAR);
        anyhow::Ok(Credd::new(site.address().await?, tls, token))
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls12 = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])?
        .with_root_certificates(site.chain.ca.roots()?)
        .with_no_client_auth();
    let tls12 = open(Tls::with_config(tls12, site.pool.host())?).await?;
    tls12.query(&cms, WITHIN).await?;

    // Certificates that are not the one meant.
    let elsewhere = Tls::new(site.chain.ca.roots()?, "elsewhere.test")?;
    let elsewhere = open(elsewhere).await?.query(&cms, WITHIN).await;
    failed(elsewhere, ErrorKind::WrongName, Step::Tls)?;
    let other_ca = Ca::create(&site.folder.path().join("other-ca"), "Another CA")?;
    let other_ca = Tls::new(other_ca.roots()?, site.pool.host())?;
    let other_ca = open(other_ca).await?.query(&cms, WITHIN).await;
    failed(other_ca, ErrorKind::Untrusted, Step::Tls)?;
    Ok(())
}

/// Tokens that do not open it.
async fn refused(site: &Site) -> anyhow::Result<()> {
    let cms = credential("cmsprod", "cms");
    let storage = site.access_token("cmsprod", "storage").await?;
    let denied = site.credd(&storage).await?.query(&cms, WITHIN).await;
    failed(denied, ErrorKind::Denied, Step::Authorize)?;
    let garbage = site.credd("garbage").await?.query(&cms, WITHIN).await;
    failed(garbage, ErrorKind::TokenRefused, Step::Token)?;

    // A token that the map file does not know.
    let crab_token = site.access_token("crabtw", "crab").await?;
    let map = fs::read_to_string(site.pool.path("/etc/condor/mapfile"))?;
    for subject in ["^ISSUER,somebody$", "^ISSUER,crab$"] {
        let subject = subject.replace("ISSUER", ISSUER);
        let known = format!("^{ISSUER},crabtw$");
        site.remap(&map.replace(&known, &subject)).await?;
        wait::until("the token to be refused", FAR, async || {
            let credd = site.credd(&crab_token).await.map_err(|e| e.to_string())?;
            match credd.query(&Credential::new("cms_crab"), WITHIN).await {
                Err(error) if error.kind() == ErrorKind::TokenRefused => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await?;
    }
    // A line is a regular expression: without its ends it takes other subjects for the account.
    site.remap(&format!("SCITOKENS {ISSUER},crab somebody\n"))
        .await?;
    wait::until("the token of another account's", FAR, async || {
        let credd = site.credd(&crab_token).await.map_err(|e| e.to_string())?;
        match credd.query(&Credential::new("cms_crab"), WITHIN).await {
            Ok(done) if done.user.starts_with("somebody@") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

fn ensure_resumed(resumed: bool) -> Result<(), String> {
    if resumed {
        Ok(())
    } else {
        Err("not resumed".to_owned())
    }
}

#[tokio::test]
async fn the_current_release_takes_everything() -> anyhow::Result<()> {
    everything(Release::Current).await
}

#[tokio::test]
async fn the_older_release_takes_everything() -> anyhow::Result<()> {
    everything(Release::Older).await
}

#[tokio::test]
async fn a_credd_that_is_away_or_elsewhere_is_an_outage_that_may_pass() -> anyhow::Result<()> {
    for release in [Release::Current, Release::Older] {
        let mut site = Site::start(release, Lives::HOUR, &[]).await?;
        let token = site.access_token("cmsprod", "default").await?;
        let cms = credential("cmsprod", "cms");
        let credd = site.credd(&token).await?;
        credd.query(&cms, WITHIN).await?;
        let away = |result: Result<_, Error>| -> anyhow::Result<()> {
            let error = result.err().context("it went well")?;
            println!("{release:?}: {error}");
            ensure!(error.may_pass(), "{error:?}");
            Ok(())
        };

        // An id of before the master was restarted.
        let old = credd.address().to_string().replace("credd_", "credd_9");
        let (place, id) = old.split_once(" (").context("no id")?;
        let old = format!("<{place}?sock={}>", id.trim_end_matches(')'));
        let opener = AccessToken::new(token.clone(), FAR);
        let stale = Credd::new(old.parse()?, site.tls()?, opener);
        away(stale.query(&cms, WITHIN).await)?;

        site.pool.off("credd").await?;
        away(credd.query(&cms, WITHIN).await)?;
        site.pool.on("credd").await?;
        // 23.9.6 gives it another id, 25.14.1 the same.
        wait::until("the credd to be back", FAR, async || {
            let credd = site.credd(&token).await?;
            credd.query(&cms, WITHIN).await?;
            anyhow::Ok(())
        })
        .await?;
        site.pool.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_session_that_the_credd_forgot_costs_a_full_authentication() -> anyhow::Result<()> {
    for release in [Release::Current, Release::Older] {
        // The same address after a restart.
        let mut site = Site::start(release, Lives::HOUR, &["CREDD_ARGS = -sock credd"]).await?;
        let token = site.access_token("cmsprod", "default").await?;
        let cms = credential("cmsprod", "cms");
        let credd = site.credd(&token).await?;
        assert_eq!(credd.address().shared_port_id(), Some("credd"));
        assert!(!credd.query(&cms, WITHIN).await?.resumed);
        assert!(credd.query(&cms, WITHIN).await?.resumed);
        site.pool.restart("credd").await?;
        assert!(!credd.query(&cms, WITHIN).await?.resumed);
        assert!(credd.query(&cms, WITHIN).await?.resumed);
        site.pool.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_session_ends_with_its_token() -> anyhow::Result<()> {
    let site = Site::start(Release::Current, Lives::QUICK, &[]).await?;
    let token = site.access_token("cmsprod", "default").await?;
    let cms = credential("cmsprod", "cms");
    let lifetime = Duration::from_secs(Lives::QUICK.access_token);
    let opener = AccessToken::new(token.clone(), lifetime);
    let credd = Credd::new(site.address().await?, site.tls()?, opener);
    credd.query(&cms, WITHIN).await?;
    assert!(credd.query(&cms, WITHIN).await?.resumed);
    wait::until("the token's end", FAR, async || {
        match credd.query(&cms, WITHIN).await {
            Err(error) if error.kind() == ErrorKind::TokenRefused => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    site.pool.stop().await
}
