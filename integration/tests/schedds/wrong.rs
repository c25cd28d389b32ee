//! What is told of a schedd with something wrong: how its credd is opened, its map file, its certificates.

use std::fs;

use anyhow::{Context as _, ensure};
use integration::ca::{Ca, Issued};
use integration::chain::ISSUER;
use integration::pool::{Pool, Release};
use integration::wait::{self, FAR};

use super::{KEYS, NATIVE, Site, site, site_with};

#[tokio::test]
async fn a_credd_is_opened_in_each_way_and_says_what_is_wrong() -> anyhow::Result<()> {
    let mut site = site(&[
        "SEC_DEFAULT_AUTHENTICATION_METHODS = FS, IDTOKENS, SCITOKENS, SSL, KERBEROS",
        "AUTH_SSL_CLIENT_CERTFILE = /etc/condor/test/host.crt",
        "AUTH_SSL_CLIENT_KEYFILE = /etc/condor/test/host.key",
        "SEC_TOKEN_SYSTEM_DIRECTORY = /etc/condor/tokens.d",
    ])
    .await?;
    let pool = &site.pool;
    let credd = |more: &str| site.yaml(&format!("credds: [ap.test]{more}"));

    // By access token, and one with the least scope.
    site.all_good(&credd("")).await?;
    let requests = fs::read_to_string(site.chain.requests())?;
    assert!(requests.contains("oauth/sts/cms/crabtw:crab"), "{requests}");

    // As a super-user: this machine, a token of the pool, a host certificate.
    let map = fs::read_to_string(pool.path("/etc/condor/mapfile"))?;
    let more = format!("{map}SSL \"^/CN=ap.test$\" bastion\n");
    fs::write(pool.path("/etc/condor/mapfile"), &more)?;
    pool.reconfigure(&["CRED_SUPER_USERS = root, condor, bastion"])
        .await?;
    let token = [
        "condor_token_create",
        "-identity",
        "bastion@ap.test",
        "-token",
        "bastion",
    ];
    pool.run("root", &token).await?.success()?;
    for method in ["fs", "idtokens", "ssl"] {
        let yaml = credd(&format!(", authenticate: {method}, superuser_for: ap.test"));
        site.all_good(&yaml).await.context(method)?;
    }
    // A super-user that the configuration does not name is told of, though it could store.
    let unnamed = "by SSL, not for cmsprod; set `superuser_for` here";
    site.told(&credd(", authenticate: ssl"), unnamed).await?;
    // By a ticket of each account, from its keytab.
    let keytab = pool.path("/etc/krb5.keytab");
    site.chain
        .kdc
        .add_principal_with_keytab("host/ap.test", &keytab)
        .await?;
    site.all_good(&credd(", authenticate: kerberos")).await?;

    // Somebody who is no super-user.
    pool.reconfigure(&["CRED_SUPER_USERS = nobody"]).await?;
    let ssl = credd(", authenticate: ssl, superuser_for: ap.test");
    site.told(&ssl, "CRED_SUPER_USERS").await?;
    what_is_wrong(&mut site, "", &map).await?;
    site.pool.stop().await
}

#[tokio::test]
async fn a_credd_that_is_spoken_to_natively_says_what_is_wrong() -> anyhow::Result<()> {
    for release in [Release::Current, Release::Older] {
        let mut site = site_with(release, &["CRED_SUPER_USERS = nobody"]).await?;
        site.all_good(&site.yaml(&format!("credds: [ap.test]{NATIVE}")))
            .await?;
        let requests = fs::read_to_string(site.chain.requests())?;
        assert!(requests.contains("oauth/sts/cms/crabtw:crab"), "{requests}");
        let map = fs::read_to_string(site.pool.path("/etc/condor/mapfile"))?;
        what_is_wrong(&mut site, NATIVE, &map)
            .await
            .with_context(|| format!("{release:?}"))?;
        site.pool.stop().await?;
    }
    Ok(())
}

/// What is told of faults at the schedd and in its map file.
async fn what_is_wrong(site: &mut Site, more: &str, map: &str) -> anyhow::Result<()> {
    let pool = &site.pool;
    let own = more.to_owned();
    let credd = |more: &str| site.yaml(&format!("credds: [ap.test]{own}{more}"));

    // A Vault that the schedd does not trust; before 24.11 it does not know the setting.
    let version = pool.run("root", &["condor_version"]).await?.success()?;
    let is_current = version.contains(Release::Current.version());
    if is_current {
        pool.reconfigure(&["TRUSTED_VAULT_HOSTS = other.test"])
            .await?;
        site.told(&credd(""), "add vault.test to TRUSTED_VAULT_HOSTS")
            .await?;
    }
    pool.reconfigure(&[]).await?;

    // A token that opens nothing, and another one that opens for it.
    let storage = credd("").replace("cms_production: {}", "cms_storage: {}");
    let scope = "the access token needs a scope that may write";
    site.told(&storage, scope).await?;
    site.all_good(&storage.replace("cms_storage: {}", "cms_storage: {authorize_with: cms}"))
        .await?;

    // A map file that takes one account for another, and one that knows nobody.
    let wrong = map.replace("cms,cmsprod$ cmsprod", "cms,cmsprod$ crabtw");
    fs::write(pool.path("/etc/condor/mapfile"), wrong)?;
    pool.reconfigure(&[]).await?;
    site.told(&credd(""), "for user crabtw@ap.test, not for cmsprod")
        .await?;
    ensure!(!pool.credentials().join("crabtw/cms.top").exists());
    site.told(&credd(", superuser_for: ap.test"), "CRED_SUPER_USERS")
        .await?;
    let line = format!("`SCITOKENS ^{ISSUER},cmsprod$ cmsprod`");
    let another = map.replace(ISSUER, "https://another.test");
    for nobody in ["", &another] {
        fs::write(pool.path("/etc/condor/mapfile"), nobody)?;
        pool.reconfigure(&[]).await?;
        site.told(&credd(""), &line).await?;
    }

    let yaml = credd("");
    fs::write(pool.path("/etc/condor/mapfile"), map)?;
    pool.reconfigure(&[]).await?;
    if !is_current {
        // It keeps no keys.
        return site.all_good(&yaml).await;
    }
    // An issuer whose keys the credd cannot get; those that it had are forgotten.
    let hosts = fs::read_to_string(pool.path("/etc/hosts"))?;
    let without = hosts.replace("issuer.test", "nobody.test");
    ensure!(hosts != without);
    fs::write(pool.path("/etc/hosts"), without)?;
    site.forget_keys().await?;
    let advice = format!("remove {KEYS} and restart the credd");
    site.told(&yaml, &advice).await?;
    site.credd_said("SCITOKENS:2:Failed to deserialize")?;
    // The issuer is back, and the credd does not look yet: what the advice says helps.
    fs::write(site.pool.path("/etc/hosts"), hosts)?;
    site.told(&yaml, &advice).await?;
    site.credd_said("Issuer is in negative cache")?;
    // On a busy machine the first request may take longer than the credd waits: the advice stands then.
    wait::until("the advice to help", 2 * FAR, async || {
        site.forget_keys().await?;
        site.is_good(&yaml).await
    })
    .await
}

/// Gives the pool's daemons another certificate.
fn show_certificate(pool: &Pool, issued: &Issued) -> anyhow::Result<()> {
    fs::copy(&issued.certificate, pool.path("/etc/condor/test/host.crt"))?;
    fs::copy(&issued.key, pool.path("/etc/condor/test/host.key"))?;
    Ok(())
}

#[tokio::test]
async fn a_wrong_certificate_of_a_credd_is_one_message_with_the_true_reason() -> anyhow::Result<()>
{
    let words = [
        "certificate has expired",
        "not valid for name",
        "`ca_file` or `ca_dir`",
    ];
    wrong_certificates(NATIVE, words).await
}

#[tokio::test]
async fn a_wrong_certificate_is_one_message_with_htcondors_tools() -> anyhow::Result<()> {
    let words = [
        "certificate has expired",
        "does not match",
        "AUTH_SSL_CLIENT_CAFILE",
    ];
    wrong_certificates("", words).await
}

/// Of a certificate that has expired, is for another name, is of another authority.
async fn wrong_certificates(more: &str, words: [&str; 3]) -> anyhow::Result<()> {
    for release in [Release::Current, Release::Older] {
        let site = site_with(release, &[]).await?;
        let (pool, ca) = (&site.pool, &site.chain.ca);
        let yaml = site.yaml(&format!("credds: [ap.test]{more}"));
        site.all_good(&yaml).await?;
        let good = ca.issue(&["ap.test"])?;
        let other = Ca::create(&site.folder.path().join("other-ca"), "Another CA")?;
        for (issued, kind, remedy, parts) in [
            (
                ca.issue_until(&["expired.test", "ap.test"], 2024)?,
                "credd_certificate",
                "fix_schedd",
                [words[0], "renew it at the schedd"],
            ),
            (
                ca.issue(&["elsewhere.test"])?,
                "credd_certificate",
                "fix_schedd",
                [words[1], "is for another name"],
            ),
            (
                other.issue(&["ap.test"])?,
                "credd_untrusted",
                "fix_this_host",
                ["certificate", words[2]],
            ),
        ] {
            show_certificate(pool, &issued)?;
            let problems = wait::until(kind, FAR, async || {
                let report = site.once(&yaml).await?;
                let problems = report["problems"].as_array().context("no list")?.clone();
                ensure!(problems.iter().any(|one| one["kind"] == kind), "{report:#}");
                anyhow::Ok(problems)
            })
            .await?;
            // One for the certificate, whatever number of accounts is kept from delivering.
            ensure!(problems.len() == 1, "{problems:#?}");
            let problem = &problems[0];
            println!("{release:?}: {}", problem["message"]);
            ensure!(
                problem["deliveries"] == 3 && problem["remedy"] == remedy,
                "{problem:#}"
            );
            let message = problem["message"].as_str().context("no message")?;
            for part in parts {
                ensure!(message.contains(part), "{part}: {message}");
            }
        }
        show_certificate(pool, &good)?;
        site.all_good(&yaml).await?;
        site.pool.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_older_credd_stores_for_nobody_but_the_account_that_is_meant() -> anyhow::Result<()> {
    let site = site_with(Release::Older, &[]).await?;
    for more in [NATIVE, ""] {
        another_account(&site, more).await?;
    }
    site.pool.stop().await
}

/// A map file that takes one account for another.
async fn another_account(site: &Site, more: &str) -> anyhow::Result<()> {
    let pool = &site.pool;
    let yaml = site.yaml(&format!("credds: [ap.test]{more}"));
    site.all_good(&yaml).await?;

    let map = fs::read_to_string(pool.path("/etc/condor/mapfile"))?;
    let wrong = map.replace("cms,cmsprod$ cmsprod", "cms,cmsprod$ crabtw");
    fs::write(pool.path("/etc/condor/mapfile"), wrong)?;
    pool.reconfigure(&[]).await?;
    site.told(&yaml, "for user crabtw@ap.test, not for cmsprod")
        .await?;
    ensure!(!pool.credentials().join("crabtw/cms.top").exists());

    fs::write(pool.path("/etc/condor/mapfile"), map)?;
    pool.reconfigure(&[]).await?;
    site.all_good(&yaml).await
}
