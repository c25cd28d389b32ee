//! The real parts themselves, without a Vault: a KDC that gives tickets, and a pool that takes
//! credentials and runs jobs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::Context as _;
use integration::ca::Ca;
use integration::kdc::Kdc;
use integration::pool::{CREDENTIALS, CREDMON, Credmon, JobState, Options, Pool};
use integration::{sandbox, wait};

const A_MINUTE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn the_kdc_gives_tickets_by_keytab_and_survives_an_outage() {
    let folder = tempfile::tempdir_in(sandbox::run_folder().unwrap()).unwrap();
    let mut kdc = Kdc::start(&folder.path().join("kdc")).await.unwrap();
    let keytab = folder.path().join("cmsprod.keytab");
    let principal = "cmsprod/bastion/host.test@TEST";
    kdc.add_principal_with_keytab(principal, &keytab)
        .await
        .unwrap();
    let mode = keytab.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let kinit = async |kdc: &Kdc| {
        let output = kdc
            .program("kinit")
            .args(["-k", "-c"])
            .arg(folder.path().join("ccache"))
            .arg("-t")
            .arg(&keytab)
            .arg(principal)
            .output()
            .await
            .unwrap();
        output.status.success()
    };
    assert!(kinit(&kdc).await);
    let daemon = kdc.daemon().unwrap();
    daemon.wait_for_line("ISSUE", A_MINUTE).await.unwrap();

    kdc.stop().await.unwrap();
    assert!(!kinit(&kdc).await, "a stopped KDC gives no ticket");
    kdc.resume().await.unwrap();
    assert!(kinit(&kdc).await);
}

#[tokio::test]
async fn a_principal_that_the_kdc_does_not_like_is_an_error() {
    let folder = tempfile::tempdir_in(sandbox::run_folder().unwrap()).unwrap();
    let kdc = Kdc::start(&folder.path().join("kdc")).await.unwrap();
    let keytab = folder.path().join("keytab");
    let error = kdc
        .add_principal_with_keytab("a@ELSEWHERE@TEST", &keytab)
        .await
        .unwrap_err();
    assert!(format!("{error:#}").contains("Malformed"), "{error:#}");
}

/// A credmon in ten lines: whatever is stored gets a token, but not for a service called `slow`.
const STAND_IN: &str = r#"#!/bin/bash
cd /var/lib/condor/oauth_credentials
umask 077
echo $$ > pid
chmod 644 pid
trap : HUP
# Else bash ignores SIGQUIT, which is how a master ends its daemons fast.
trap 'exit 0' QUIT TERM
while :; do
    for top in */*.top; do
        use=${top%.top}.use
        if [[ -e $top && ! -e $use && $use != */slow.use ]]; then
            echo "token of $top" > $use.new
            chgrp condor $use.new
            chmod 400 $use.new
            mv $use.new $use
        fi
    done
    touch CREDMON_COMPLETE
    sleep 0.2 & wait $!
done
"#;

const TOP: &str = r#"{"vault_token":"x","vault_url":"https://vault.test:8200/v1/secret/oauth/creds/cms/cmsprod:default"}"#;

#[tokio::test]
async fn a_pool_takes_credentials_and_runs_jobs() -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(sandbox::run_folder()?)?;
    let ca = Ca::create(&folder.path().join("ca"), "Test CA")?;
    let credmon = folder.path().join("stand-in");
    fs::write(&credmon, STAND_IN)?;
    let options = Options::new(&["cmsprod"], Credmon::Program(credmon));
    let mut pool = Pool::start(&folder.path().join("pool"), &ca, &options).await?;

    stores_a_credential(&pool).await?;
    runs_a_job(&pool, "", "id -un", "cmsprod\n").await?;
    let asks = "use_oauth_services = cms";
    let token = "token of cmsprod/cms.top\n";
    runs_a_job(&pool, asks, r#"cat ""$_CONDOR_CREDS""/cms.use"#, token).await?;
    holds_a_job_whose_token_is_missing(&pool).await?;

    pool.restart("credd").await?;
    let query = ["condor_store_cred", "query-oauth"];
    let answer = pool.run("cmsprod", &query).await?.success()?;
    assert!(answer.contains("cms.use = "), "{answer}");
    replaces_the_credmon_alone(&pool).await?;
    pool.stop().await
}

/// What the credmon's manual says of its installation beside daemons that go on.
async fn replaces_the_credmon_alone(pool: &Pool) -> anyhow::Result<()> {
    let another = format!("{CREDMON}2");
    let install = format!(
        "cp {CREDMON} {another} && echo CREDMON_OAUTH = {another} >/etc/condor/config.d/99-credmon && \
         condor_reconfig && condor_off -daemon CREDMON_OAUTH && condor_on -daemon CREDMON_OAUTH"
    );
    pool.run("root", &["sh", "-c", &install]).await?.success()?;
    wait::until("the other credmon", A_MINUTE, async || {
        let running = ["pgrep", "-f", &another];
        pool.run("root", &running).await?.success()
    })
    .await?;
    Ok(())
}

async fn stores_a_credential(pool: &Pool) -> anyhow::Result<()> {
    let store = ["condor_store_cred", "add-oauth", "-s", "cms", "-i", "-"];
    let answer = pool.run_with_input("cmsprod", &store, TOP).await?;
    let answer = answer.success()?;
    let user = r#"fully_qualified_user = "cmsprod@ap.test""#;
    assert!(answer.contains(user), "{answer}");
    let query = ["condor_store_cred", "query-oauth", "-s", "cms"];
    wait::until("the stand-in to write the token", A_MINUTE, async || {
        let answer = pool.run("cmsprod", &query).await?.success()?;
        anyhow::ensure!(answer.contains("\ncms = "), "{answer}");
        anyhow::ensure!(answer.contains("\nTopcmsTime = "), "{answer}");
        Ok(())
    })
    .await?;

    // What a credmon and a bastion for directories must keep to.
    let list = ["find", CREDENTIALS, "-printf", "%P %m %u:%g\n"];
    let found = pool.run("root", &list).await?.success()?;
    let mut found: Vec<&str> = found.lines().collect();
    found.sort_unstable();
    let expected = [
        " 2770 root:condor",
        "CREDMON_COMPLETE 600 root:condor",
        "cmsprod 2700 condor:condor",
        "cmsprod/cms.top 600 root:condor",
        "cmsprod/cms.use 400 root:condor",
        "pid 644 root:condor",
    ];
    assert_eq!(found, expected);
    let top = fs::read_to_string(pool.credentials().join("cmsprod/cms.top"))?;
    assert_eq!(top, TOP);
    Ok(())
}

async fn runs_a_job(pool: &Pool, asks: &str, script: &str, prints: &str) -> anyhow::Result<()> {
    let text = format!("executable = /bin/sh\narguments = \"-c '{script}'\"\n{asks}");
    let job = pool.submit("cmsprod", &text).await?;
    let code = pool.wait_job(&job, A_MINUTE).await;
    let code = code.with_context(|| pool.logs(20))?;
    assert_eq!((code, pool.job_output(&job)?), (0, prints.to_owned()));
    Ok(())
}

async fn holds_a_job_whose_token_is_missing(pool: &Pool) -> anyhow::Result<()> {
    let store = ["condor_store_cred", "add-oauth", "-s", "slow", "-i", "-"];
    let answer = pool.run_with_input("cmsprod", &store, TOP).await?;
    answer.success()?;
    let text = "executable = /bin/true\nuse_oauth_services = slow";
    let job = pool.submit("cmsprod", text).await?;
    let held = pool
        .wait_job_state(&job, "to be held", A_MINUTE, |state| {
            matches!(state, JobState::Held { .. })
        })
        .await
        .with_context(|| pool.logs(20))?;
    let JobState::Held { code, reason } = held else {
        anyhow::bail!("{held:?}");
    };
    assert_eq!(code, 4, "{reason}");
    Ok(())
}
