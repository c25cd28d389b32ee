//! A `.top` that points elsewhere: another host, port, path, scheme, another account's secret, a metadata service.

use integration::hostile::{Answer, Site, Vault};
use integration::wait;

use super::{FAR, HOUR, Test};

/// Addresses that no `.top` may name: nothing is sent for them.
const REFUSED: [(&str, &str); 13] = [
    ("http", "http://vault:8200/v1/a"),
    ("no_port", "https://vault/v1/a"),
    ("ssh", "https://vault:22/v1/a"),
    ("condor", "https://vault:9618/v1/a"),
    ("status_port", "https://127.0.0.1:9118/v1/a"),
    ("no_v1", "https://vault:8200/latest/meta-data/"),
    ("up", "https://vault:8200/v1/../sys/raw"),
    ("hidden_up", "https://vault:8200/v1/%2e%2e/sys/raw"),
    ("query", "https://vault:8200/v1/a?x=1"),
    ("fragment", "https://vault:8200/v1/a#x"),
    ("user", "https://vault:8200@stranger:8200/v1/a"),
    ("file", "file:///etc/shadow"),
    ("line", "https://vault:8200/v1/a\r\nX-Vault-Token: s.other"),
];

/// Addresses of this host and of metadata services, at the port that is allowed.
const METADATA: [(&str, &str); 7] = [
    ("aws", "https://169.254.169.254:8200/v1/latest/meta-data/"),
    ("aws6", "https://[fd00:ec2::254]:8200/v1/latest/meta-data/"),
    ("number", "https://2852039166:8200/v1/latest/meta-data/"),
    ("octal", "https://0251.0376.0251.0376:8200/v1/latest/"),
    ("mapped", "https://[::ffff:169.254.169.254]:8200/v1/latest/"),
    (
        "gcp",
        "https://metadata.google.internal:8200/v1/computeMetadata/",
    ),
    ("nowhere", "https://0.0.0.0:8200/v1/latest/"),
];

#[tokio::test]
async fn a_top_that_points_elsewhere_gets_nothing_and_harms_nobody() -> Test {
    let site = Site::new()?;
    let vault = Vault::start(&site, std::time::Duration::from_secs(HOUR), 1).await?;
    let stranger = site.server("stranger", |r| Answer::good(r, HOUR)).await?;
    site.directory
        .store("cmsprod", "cms", &vault.vault_token()?, &vault.creds(0))?;
    let own = vault.vault_token_of("mallory")?;
    let store = |service: &str, url: &str| {
        let url = url
            .replace("vault:", &format!("{}:", vault.host()))
            .replace("stranger:", &format!("{}:", stranger.host()));
        site.directory.store("mallory", service, &own, &url)
    };
    for (service, url) in REFUSED {
        store(service, url)?;
    }
    // What the real Vault's policy decides, with a token of his own.
    let others = [
        ("secret_of_another", vault.creds(0)),
        ("list", vault.url("secret/oauth/creds/cms")),
        ("configuration", vault.url("secret/oauth/config")),
        ("policies", vault.url("sys/policies/acl")),
    ];
    for (service, url) in &others {
        site.directory.store("mallory", service, &own, url)?;
    }
    let credmon = site.credmon().start()?;
    site.directory.served("cmsprod", "cms", FAR).await?;

    for (service, _) in REFUSED {
        let one = credmon.state("mallory", service, &["dead"], FAR).await?;
        let why = one["why"].to_string();
        assert!(
            !why.contains("meta-data") && !why.contains("s.other"),
            "{why}"
        );
    }
    for (service, _) in &others {
        credmon
            .state("mallory", service, &["degraded", "dead"], FAR)
            .await?;
    }
    for service in REFUSED
        .map(|(service, _)| service)
        .iter()
        .chain(&others.each_ref().map(|(service, _)| *service))
    {
        assert_eq!(site.directory.read("mallory", service), None, "{service}");
    }
    assert_eq!(stranger.connections(), 0);
    // Nobody else's token, and nobody else's trouble.
    let good = credmon.credential("cmsprod", "cms").await?;
    assert_eq!(good["state"], "fresh", "{good}");
    Ok(())
}

#[tokio::test]
async fn with_trusted_hosts_no_other_host_is_even_connected_to() -> Test {
    let site = Site::new()?;
    let good = site.server("good", |r| Answer::good(r, HOUR)).await?;
    let stranger = site.server("stranger", |r| Answer::good(r, HOUR)).await?;
    site.directory
        .store("cmsprod", "cms", "s.good", &good.creds("cmsprod"))?;
    site.directory
        .store("mallory", "stranger", "s.x", &stranger.creds("x"))?;
    for (service, url) in METADATA {
        site.directory.store("mallory", service, "s.x", url)?;
    }
    let mut setup = site.credmon();
    let credmon = setup.set("TRUSTED_VAULT_HOSTS", good.host()).start()?;
    site.directory.served("cmsprod", "cms", FAR).await?;
    for service in METADATA
        .map(|(service, _)| service)
        .iter()
        .chain(&["stranger"])
    {
        let one = credmon.state("mallory", service, &["dead"], FAR).await?;
        let why = one["why"].to_string();
        assert!(
            why.contains("TRUSTED_VAULT_HOSTS") || why.contains("its .top cannot be used"),
            "{why}"
        );
    }
    assert_eq!(stranger.connections(), 0);

    // Without the setting they are asked, as every Vault of a user is; that harms no other account.
    setup.unset("TRUSTED_VAULT_HOSTS");
    let mut first = credmon;
    first.terminate().await?;
    let credmon = setup.start()?;
    wait::until("the stranger to be asked", FAR, async || {
        (stranger.connections() > 0).then_some(())
    })
    .await?;
    for (service, _) in METADATA {
        credmon
            .state("mallory", service, &["degraded", "dead"], FAR)
            .await?;
        assert_eq!(site.directory.read("mallory", service), None, "{service}");
    }
    let good = credmon.state("cmsprod", "cms", &["fresh"], FAR).await?;
    assert_eq!(good["user"], "cmsprod");
    Ok(())
}
