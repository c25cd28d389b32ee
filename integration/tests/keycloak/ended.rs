//! An admin of Keycloak ends a person's session: Vault can refresh nothing any more. What the plugin
//! answers then is `htvault-dev`'s, as recorded; the refusal is Keycloak's own.

use std::fs;
use std::time::Duration;

use bastion::engine::report::{Line, Report};
use bastion::model::problem::{Kind, Remedy};
use htvault::Claims;
use htvault::clock::{Clock as _, SystemClock};
use integration::chain::{Chain, Lives};
use integration::keycloak::Keycloak;
use integration::keycloak::realm::Realm;
use integration::{ended, here, sandbox, wait};

use crate::{ACCOUNT, FAR, NAME, ONE, onboard, role, with_keycloak};

/// Access tokens whose tenth of a life is more than a busy machine needs for a request.
const LIVES: Lives = Lives {
    access_token: 180,
    access_minimum: 120,
    vault_token: 1200,
    renew_below: 300,
};
/// What two processes on a busy machine may be late.
const LATE: Duration = Duration::from_secs(15);

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
    let ended = SystemClock.now();
    let line = wait::until("the refusal to be told", FAR, async || {
        let report = status().await?;
        let is_refused = |line: &&Line| line.wanted.service == NAME && line.problem.is_some();
        let line = report.deliveries.iter().find(is_refused);
        line.cloned().ok_or(anyhow::anyhow!("no problem yet"))
    })
    .await
    .unwrap();
    let problem = line.problem.unwrap();
    assert_eq!(
        (problem.kind, problem.remedy),
        (Kind::NotOnboarded, Remedy::Onboard)
    );
    let command = format!("token-bastion onboard --account {ACCOUNT} --service {NAME}");
    assert!(problem.message.contains(&command), "{}", problem.message);
    assert!(
        problem.message.contains("invalid_grant"),
        "{}",
        problem.message
    );
    let after = Duration::try_from(problem.since.duration_since(ended)).unwrap_or_default();
    let tenth = Duration::from_secs(LIVES.access_token / 10);
    assert!(after <= tenth + LATE, "{after:?}");

    // Jobs have what they had.
    assert!(line.jobs_have_token);
    let file = directory.join(ACCOUNT).join("keycloak.use");
    let claims = Claims::read(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(claims.subject.as_deref(), Some(subject));
    assert!(claims.expires.unwrap() > SystemClock.now());

    // Until the person logs in again.
    onboard(chain.bastion(&config).unwrap(), &keycloak).await;
    all_good().await;
}
