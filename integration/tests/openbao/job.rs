//! The whole chain: keytab, KDC, the real OpenBao, bastion, HTCondor's credd, credmon, job.

use std::fs;

use bastion::engine::report::Report;
use integration::chain::{ISSUER, Lives, installed};
use integration::hostile::token::AccessToken;
use integration::pool::Pool;
use integration::{ended, wait};

use crate::{FAR, parts};

const PRINT: &str = r#"cat ""$_CONDOR_CREDS""/cms_crab.use"#;

#[tokio::test]
async fn a_job_has_a_token_that_came_from_a_keytab_by_the_real_server() {
    let parts = parts(Lives::SHORT).await;
    let (site, folder) = (&parts.site, parts.folder.path());
    let options = installed::pool_options(&site.chain).unwrap();
    let place = folder.join("pool");
    let pool = Pool::start(&place, &site.chain.ca, &options).await.unwrap();
    wait::until("every delivery to be good", FAR, async || {
        let mut bastion = installed::bastion(&site.chain, &pool)?;
        bastion.args(["once", "--json"]);
        let output = ended::output(bastion, FAR).await?;
        let report: Report = serde_json::from_slice(&output.stdout)?;
        anyhow::ensure!(report.is_good(), "{:#?}", report.problems);
        anyhow::ensure!(report.deliveries.len() == 3, "{report:#?}");
        Ok(())
    })
    .await
    .unwrap();

    let description = format!(
        "executable = /bin/sh\narguments = \"-c '{PRINT}'\"\nuse_oauth_services = cms_crab"
    );
    let job = pool.submit("crabtw", &description).await.unwrap();
    assert_eq!(pool.wait_job(&job, FAR).await.unwrap(), 0);
    let token = AccessToken::read(pool.job_output(&job).unwrap().trim()).unwrap();
    assert_eq!(token.claim("iss"), Some(ISSUER));
    assert_eq!(token.claim("sub"), Some("crabtw"));
    assert!(token.left().unwrap() > 0);

    // The schedd's vault token is one of the real server's, with a login of its own.
    let top = fs::read_to_string(pool.credentials().join("crabtw/cms_crab.top")).unwrap();
    let top: serde_json::Value = serde_json::from_str(&top).unwrap();
    let token = top["vault_token"].as_str().unwrap().to_owned().into();
    let client = site.client().unwrap();
    let info = client.lookup_self(&token).await.unwrap();
    assert_eq!(info.policies, ["kerberos-cms_crab", "tokenops"]);
    // A person revokes it. No service runs that knows the token: the command that is printed for
    // Vault's admins ends it.
    let mut revoke = installed::bastion(&site.chain, &pool).unwrap();
    revoke.args(["revoke", "--account", "crabtw", "--schedd", "ap.test"]);
    let output = ended::output(revoke, FAR).await.unwrap();
    let text = ended::text(&output);
    let printed = text.split("bao token revoke ").nth(1).expect(&text);
    let accessor = printed.split(';').next().unwrap();
    assert_eq!(accessor, format!("-accessor {}", info.accessor));
    let mut bao = site.bao.command(&site.chain.ca.file()).unwrap();
    bao.args(["token", "revoke"]).args(accessor.split(' '));
    let output = ended::output(bao, FAR).await.unwrap();
    assert!(output.status.success(), "{}", ended::text(&output));
    assert!(!site.lives(&token).await.unwrap());
    pool.stop().await.unwrap();
}
