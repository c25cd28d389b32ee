//! An admin of Keycloak ends a person's session: Vault can refresh nothing any more. What the plugin
//! answers then is `htvault-dev`'s, as recorded; the refusal is Keycloak's own.

use std::fs;
use std::time::Duration;

use bastion::engine::report::Report;
use bastion::model::problem::{Kind, Remedy};
use htvault::Claims;
use htvault::clock::{Clock as _, SystemClock};
use integration::chain::{Chain, Lives};
use integration::keycloak::Keycloak;
use integration::keycloak::realm::Realm;
use integration::{ended, here, sandbox, wait};

use crate::{ACCOUNT, FAR, NAME, ONE, onboard, role, with_keycloak};

/// Access tokens whose tenth of a life is far more than a busy machine needs for a request.
const LIVES: Lives = Lives {
    access_token: 600,
    access_minimum: 400,
    vault_token: 3600,
    renew_below: 900,
};
/// HTCondor's service of tokens that are exchanged.
const REDUCED: &str = "keycloak_read";
/// A tenth of an access token's life, and what a busy machine may be late.
const TOLD: Duration = Duration::from_secs(LIVES.access_token / 10 + 60);

#[tokio::test]
async fn an_ended_session_is_told_within_a_tenth_of_an_access_tokens_life_and_jobs_keep_theirs() {
    let _one = ONE.lock().await;
    let folder = sandbox::new_folder().unwrap();
    let folder = folder.path();
    let mut chain = Chain::start(folder, LIVES).await.unwrap();
    let secret = chain.issuer_client_secret().unwrap();
    let realm = Realm::new(LIVES.access_token, secret, &[ACCOUNT]);
    let keycloak = Keycloak::start(folder, &chain.ca, realm).await.unwrap();
    chain.vault.stop().await.unwrap();
    let outside = format!("{NAME}={}", Keycloak::issuer());
    let options = ["--outside-issuer", &outside, "--role", &role()];
    chain.restart_vault_with(&options).await.unwrap();

    let directory = here::credential_directory(folder).unwrap();
    let _credmon = here::credmon(&chain, &directory).unwrap();
    let yaml = with_keycloak(&chain.bastion_yaml(&chain.here(&directory)));
    // The same grant again, for jobs that need less: exchanged by Keycloak each time.
    let whole = format!("      {NAME}: {{}}\n");
    let less = "{issuer: keycloak, role: default, scopes: [\"storage.read:/\"]}";
    let yaml = yaml.replace(&whole, &format!("{whole}      {REDUCED}: {less}\n"));
    let config = chain.write_bastion_config(&yaml).unwrap();
    let _service = chain.service(&config).unwrap();
    let status = async || -> anyhow::Result<Report> {
        let mut status = chain.bastion(&config)?;
        status.args(["status", "--json"]);
        let output = ended::output(status, FAR).await?;
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    let all_good = async || {
        wait::until("all to be good", FAR, async || {
            let report = status().await?;
            anyhow::ensure!(report.is_good(), "{:#?}", report.problems);
            Ok(())
        })
        .await
        .unwrap();
    };
    onboard(chain.bastion(&config).unwrap(), &keycloak).await;
    all_good().await;

    let subject = keycloak.realm().subject(ACCOUNT).unwrap();
    let admin = keycloak.admin().await.unwrap();
    assert_eq!(admin.end_sessions(subject).await.unwrap(), 1);
    let lines = wait::until("the refusals to be told", TOLD, async || {
        let mut lines = status().await?.deliveries;
        lines.retain(|line| line.wanted.issuer == NAME && line.problem.is_some());
        anyhow::ensure!(lines.len() == 2, "{lines:#?}");
        Ok(lines)
    })
    .await
    .unwrap();
    for line in lines {
        let service = line.wanted.service;
        let problem = line.problem.unwrap();
        assert_eq!(
            (problem.kind, problem.remedy),
            (Kind::NotOnboarded, Remedy::Onboard),
            "{service}: {}",
            problem.message
        );
        let command = format!("token-bastion onboard --account {ACCOUNT} --service {service}");
        for part in ["invalid_grant", &command] {
            assert!(problem.message.contains(part), "{}", problem.message);
        }

        // Jobs have what they had.
        assert!(line.jobs_have_token, "{service}");
        let file = directory.join(ACCOUNT).join(format!("{service}.use"));
        let claims = Claims::read(&fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(claims.subject.as_deref(), Some(subject));
        assert!(claims.expires.unwrap() > SystemClock.now(), "{service}");
        let has_all = claims.scopes.iter().any(|scope| scope == "condor:/WRITE");
        assert_eq!(has_all, service == NAME, "{claims:?}");
    }

    // Until the person logs in again.
    onboard(chain.bastion(&config).unwrap(), &keycloak).await;
    all_good().await;
}
