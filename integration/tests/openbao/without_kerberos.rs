//! OpenBao from 2.7 on is built without Kerberos: what is said after such an upgrade, and what goes on.

use bastion::model::problem::{Kind, Remedy};
use htvault::ErrorKind;
use integration::chain::Lives;
use integration::openbao::Release;
use integration::wait;

use crate::{FAR, Host};

const ADVICE: &str = "OpenBao from 2.7 on needs the plugin `kerberos`";

#[tokio::test]
async fn an_upgrade_that_loses_kerberos_is_told_with_what_to_do_and_living_tokens_go_on() {
    let mut host = Host::start(Lives::SHORT).await;
    let once = host.run(&["once"]).await;
    assert_eq!(once.status.code(), Some(0), "{once:?}");
    let (tokens, first) = (host.vault_tokens(), host.access_tokens());
    let site = &mut host.parts.site;
    site.bao.upgrade(Release::WithoutKerberos).await.unwrap();

    // A mount whose plugin is missing answers like a path that does not exist.
    let keytab = host.parts.site.chain.keytabs().join("crabtw.keytab");
    let refused = host.parts.login_with(&keytab, "crabtw@TEST", "crab").await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TokenRejected);
    assert!(refused.advice().contains(ADVICE), "{refused}");

    let doctor = host.run(&["doctor", "--account", "crabtw"]).await;
    let text = String::from_utf8(doctor.stdout).unwrap();
    assert_eq!(doctor.status.code(), Some(1), "{text}");
    let line = text.lines().find(|line| line.contains("login cms_crab"));
    let line = line.unwrap();
    assert!(line.starts_with("  WRONG"), "{text}");
    assert!(line.contains(ADVICE), "{text}");
    // Its version is there, too.
    assert!(text.contains("active, 2.7.2"), "{text}");

    let mut service = host.service();
    let told = wait::until("the missing login to be told", FAR, async || {
        let report = host.report("push").await?;
        let group = report.problems.first().cloned();
        group.ok_or_else(|| "no problem yet".to_owned())
    });
    let told = told.await.unwrap();
    assert_eq!(
        (told.kind, told.remedy),
        (Kind::Forbidden, Remedy::FixVault)
    );
    assert!(told.message.contains(ADVICE), "{told:?}");

    // What was delivered before lives to its end: jobs have time.
    for (path, token) in tokens {
        let lives = host.parts.site.lives(&token).await.unwrap();
        assert!(lives, "{}", path.display());
    }
    wait::until("new access tokens", FAR, async || {
        let now = host.access_tokens();
        let new = now.iter().all(|(path, token)| first[path] != *token);
        (new && now.len() == 3).then_some(())
    })
    .await
    .unwrap();
    service.stop().await.unwrap();
}
