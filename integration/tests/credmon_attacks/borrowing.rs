//! A `.top` without a vault token borrows its parent's: for the parent's server only.

use integration::hostile::{Answer, Site};
use serde_json::json;

use super::{FAR, HOUR, Test};

const TOKEN: &str = "s.parents-own-vault-token";

#[tokio::test]
async fn a_borrowed_vault_token_goes_to_the_parents_server_only() -> Test {
    let site = Site::new()?;
    let good = site.server("good", |r| Answer::good(r, HOUR)).await?;
    let stranger = site.server("stranger", |r| Answer::good(r, HOUR)).await?;
    site.directory
        .store("cmsprod", "cms", TOKEN, &good.creds("cmsprod"))?;
    let there = "v1/secret/oauth/creds/cms/cmsprod:default";
    let (good_host, strange_host) = (good.host(), stranger.host());
    let refused = [
        ("cms_host", stranger.creds("cmsprod")),
        ("cms_path", stranger.url("auth/token/lookup-self")),
        // The same machine under another name is another server.
        ("cms_address", format!("https://{}/{there}", good.address())),
        ("cms_port", format!("https://{good_host}:8201/{there}")),
        ("cms_scheme", format!("http://{good_host}:8200/{there}")),
        (
            "cms_user",
            format!("https://{good_host}:8200@{strange_host}:8200/{there}"),
        ),
    ];
    for (service, url) in &refused {
        let top = json!({"vault_url": url}).to_string();
        site.directory.store_text("cmsprod", service, top)?;
    }
    let same = json!({"vault_url": good.creds("cmsprod"), "scopes": "storage.read:/x"});
    site.directory
        .store_text("cmsprod", "cms_same", same.to_string())?;
    let credmon = site.credmon().start()?;

    site.directory.served("cmsprod", "cms_same", FAR).await?;
    for (service, _) in &refused {
        let one = credmon.state("cmsprod", service, &["dead"], FAR).await?;
        let why = one["why"].to_string();
        if matches!(*service, "cms_host" | "cms_path") {
            assert!(
                why.contains(good_host) && why.contains(strange_host),
                "{why}"
            );
        }
        assert!(
            site.directory.read("cmsprod", service).is_none(),
            "{service}"
        );
    }
    assert!(
        !stranger.has_seen(TOKEN),
        "the stranger has the vault token"
    );
    assert!(stranger.requests().is_empty(), "{:?}", stranger.requests());

    // One that brings a token of its own may name any server.
    site.directory
        .store("cmsprod", "cms_own", "s.own", &stranger.creds("cmsprod"))?;
    site.directory.served("cmsprod", "cms_own", FAR).await?;
    assert!(stranger.has_seen("s.own") && !stranger.has_seen(TOKEN));
    Ok(())
}

#[tokio::test]
async fn a_parent_that_names_no_server_lends_nothing() -> Test {
    let site = Site::new()?;
    let any = site.server("any", |r| Answer::good(r, HOUR)).await?;
    let parent = json!({"vault_token": TOKEN}).to_string();
    site.directory.store_text("cmsprod", "cms", parent)?;
    let child = json!({"vault_url": any.creds("cmsprod")}).to_string();
    site.directory.store_text("cmsprod", "cms_child", child)?;
    let credmon = site.credmon().start()?;
    credmon
        .state("cmsprod", "cms_child", &["dead"], FAR)
        .await?;
    assert!(any.requests().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_parent_that_moves_takes_its_token_along() -> Test {
    let site = Site::new()?;
    let old = site.server("old", |r| Answer::good(r, HOUR)).await?;
    let new = site.server("new", |r| Answer::good(r, HOUR)).await?;
    site.directory
        .store("cmsprod", "cms", "s.first", &old.creds("cmsprod"))?;
    let child = json!({"vault_url": old.creds("cmsprod")}).to_string();
    site.directory.store_text("cmsprod", "cms_child", child)?;
    let credmon = site.credmon().start()?;
    site.directory.served("cmsprod", "cms_child", FAR).await?;

    site.directory
        .store("cmsprod", "cms", "s.second", &new.creds("cmsprod"))?;
    credmon
        .state("cmsprod", "cms_child", &["dead"], FAR)
        .await?;
    assert!(
        !old.has_seen("s.second"),
        "the old server has the new token"
    );
    // Jobs keep what they have.
    assert!(site.directory.token("cmsprod", "cms_child").is_some());
    Ok(())
}
