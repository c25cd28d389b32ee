//! The whole chain with the real OpenBao: a person logs in at Keycloak, the bastion delivers, HTCondor
//! takes Keycloak's tokens for the account, a job has one, and it is renewed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use bastion::engine::report::Report;
use integration::chain::{Chain, Lives, installed};
use integration::dev::issuer::CLIENT_ID;
use integration::dev::settings::RoleName;
use integration::hostile::token::AccessToken;
use integration::keycloak::Keycloak;
use integration::keycloak::realm::{AUDIENCES, Realm, SCOPES};
use integration::openbao::setup::Issuer;
use integration::openbao::site::Site;
use integration::pool::{Mapping, Pool};
use integration::{ended, sandbox, wait};
use tokio::process::Command;

use crate::{ACCOUNT, FAR, NAME, ONE, onboard, with_keycloak};

const PRINT: &str = r#"cat ""$_CONDOR_CREDS""/keycloak.use"#;

#[tokio::test]
async fn a_job_has_a_token_of_a_real_issuer_that_goes_on_being_renewed() {
    let _one = ONE.lock().await;
    let folder = sandbox::new_folder().unwrap();
    let folder = folder.path();
    let lives = Lives::SHORT;
    let site = Site::start(folder, lives).await.unwrap();
    let chain = &site.chain;
    let secret = chain.issuer_client_secret().unwrap();
    let realm = Realm::new(lives.access_token, secret.clone(), &[ACCOUNT]);
    let subject = realm.subject(ACCOUNT).unwrap().to_owned();

    let mut options = installed::pool_options(chain).unwrap();
    options.map.push(Mapping {
        issuer: Keycloak::issuer(),
        subject: subject.clone(),
        account: ACCOUNT.to_owned(),
    });
    let keycloak = Keycloak::start(folder, &chain.ca, realm).await.unwrap();
    // It has the keys of both issuers then.
    let place = folder.join("pool");
    let pool = Pool::start(&place, &chain.ca, &options).await.unwrap();
    add_issuer(&site, &secret).await;

    // The trial may come before what stands in for the plugin has the first access token.
    onboard(bastion(chain, &pool), &keycloak).await;
    wait::until("every delivery to be good", FAR, async || {
        let mut bastion = bastion(chain, &pool);
        bastion.args(["once", "--json"]);
        let output = ended::output(bastion, FAR).await?;
        let report: Report = serde_json::from_slice(&output.stdout)?;
        anyhow::ensure!(report.is_good(), "{:#?}", report.problems);
        anyhow::ensure!(report.deliveries.len() == 4, "{report:#?}");
        Ok(())
    })
    .await
    .unwrap_or_else(|error| panic!("{error:#}\n{}", pool.logs(20)));

    let description =
        format!("executable = /bin/sh\narguments = \"-c '{PRINT}'\"\nuse_oauth_services = {NAME}");
    let job = pool.submit(ACCOUNT, &description).await.unwrap();
    assert_eq!(pool.wait_job(&job, FAR).await.unwrap(), 0);
    let text = pool.job_output(&job).unwrap();
    let token = AccessToken::read(text.trim()).unwrap();
    assert_eq!(token.claim("iss"), Some(Keycloak::issuer().as_str()));
    assert_eq!(token.claim("sub"), Some(subject.as_str()));
    assert!(token.left().unwrap() > 0);
    let claims = htvault::Claims::read(text.trim()).unwrap();
    // In any order.
    let audiences: BTreeSet<&str> = claims.audience.iter().map(String::as_str).collect();
    assert_eq!(audiences, BTreeSet::from(AUDIENCES));
    assert_eq!(claims.odd, Vec::<String>::new());
    for scope in SCOPES {
        assert!(claims.scopes.iter().any(|has| has == scope), "{claims:?}");
    }
    assert!(text.trim().len() > 1400, "{} bytes", text.trim().len());

    // Renewed twice at the schedd. Between that the refresh token was used several times, each for the
    // last one: Keycloak refuses one that was used before.
    let file = pool.credentials().join(ACCOUNT).join("keycloak.use");
    let mut seen = claims.id;
    for _ in 0..2 {
        seen = wait::until("another token in the schedd", FAR, async || {
            let claims = htvault::Claims::read(&fs::read_to_string(&file).ok()?)?;
            (claims.id != seen).then_some(claims.id)
        })
        .await
        .unwrap();
    }
    assert_eq!(site.refresher.refusals(), BTreeMap::default());
    pool.stop().await.unwrap();
}

/// Makes Keycloak known to the Vault as htvault-config does.
async fn add_issuer(site: &Site, secret: &secrecy::SecretString) {
    let role = RoleName {
        issuer: NAME.to_owned(),
        role: "default".to_owned(),
    };
    let issuer = Issuer {
        name: NAME,
        url: &Keycloak::issuer(),
        client_id: CLIENT_ID,
        client_secret: secret,
        algorithm: "RS256",
        credkey_claim: "preferred_username",
        roles: vec![(role, Realm::scopes())],
    };
    let endpoint = Keycloak::token_endpoint();
    site.add_issuer(&issuer, &endpoint).await.unwrap();
}

/// The bastion in the pool, with both issuers.
fn bastion(chain: &Chain, pool: &Pool) -> Command {
    let command = installed::bastion(chain, pool).unwrap();
    let places = installed::places(&installed::credds(pool));
    let yaml = with_keycloak(&chain.bastion_yaml(&places));
    installed::configure(pool, &yaml).unwrap();
    command
}
