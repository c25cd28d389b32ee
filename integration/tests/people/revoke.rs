//! A delivery is cut off, or a whole schedd.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use htvault::{ErrorKind, VaultToken};
use integration::chain::{Chain, Lives, installed};
use integration::pool::Pool;
use integration::process::Daemon;
use integration::{sandbox, wait};
use serde_json::Value;

use crate::{FAR, ONE, Parts, became, client, deliveries, has_top, parts, state, text};

#[tokio::test]
async fn one_of_two_deliveries_is_cut_off_and_stays_so_over_a_restart() {
    let mut parts = parts().await;
    parts.start().await;
    parts.all_good().await;
    let cut = parts.stored("here", "crabtw", "cms_crab").unwrap();
    let kept = parts.stored("there", "crabtw", "cms_crab").unwrap();
    let revoke = ["revoke", "--account", "crabtw", "--schedd", "here"];
    let output = parts.run(&[&revoke[..], &["--json"]].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(
        became(&output),
        [["done", "done", "done"]],
        "{}",
        text(&output)
    );
    assert!(!parts.lives(&cut).await);
    assert!(parts.lives(&kept).await);
    let is_off = |parts: &Parts| {
        let folder = parts.folder("here", "crabtw");
        !has_top(&folder) && !folder.join("cms_crab.use").exists()
    };
    assert!(is_off(&parts));

    // The service goes on with the others, and not with that one, after a restart too.
    for _ in 0..2 {
        let push = ["push", "--account", "crabtw", "--schedd", "there"];
        let output = parts.run(&push).await;
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let status = parts.status(|status| Some(status.clone())).await;
        assert_eq!(state(&status, "crabtw", "here"), "cut_off");
        assert_eq!(state(&status, "crabtw", "there"), "good");
        assert!(is_off(&parts));
        parts.stop().await;
        parts.start().await;
        parts
            .status(|status| (state(status, "cmsprod", "here") == "good").then_some(()))
            .await;
    }

    let push = ["push", "--account", "crabtw", "--schedd", "here"];
    let output = parts.run(&push).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    parts.all_good().await;
}

#[tokio::test]
async fn without_a_service_a_token_is_named_for_vaults_admins() {
    let mut parts = parts().await;
    parts.start().await;
    parts.all_good().await;
    let token = parts.stored("here", "crabtw", "cms_crab").unwrap();
    let accessor = parts.client.lookup_self(&token).await.unwrap().accessor;
    // The ledger is saved when the service stops, at the latest.
    parts.stop().await;
    // As at a credd, nothing can be read back.
    fs::remove_dir_all(parts.folder("here", "crabtw")).unwrap();
    let output = parts.run(&["revoke", "--all-at", "here", "--json"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    // cmsprod's could be read back and was revoked.
    let expected = [
        vec!["done", "done", "done"],
        vec!["not_done", "nothing", "done"],
    ];
    assert_eq!(became(&output), expected, "{}", text(&output));
    let command = format!("bao token revoke -accessor {accessor}");
    assert!(text(&output).contains(&command), "{}", text(&output));

    // What the admins do then ends it.
    assert!(parts.lives(&token).await);
    parts.kill(&accessor).await;
    assert!(!parts.lives(&token).await);

    // With Vault away it is cut off as far as that goes, and named in that run and in the next.
    let token = parts.stored("there", "crabtw", "cms_crab").unwrap();
    let accessor = parts.client.lookup_self(&token).await.unwrap().accessor;
    let command = format!("bao token revoke -accessor {accessor}");
    let revoke = [
        "revoke",
        "--account",
        "crabtw",
        "--schedd",
        "there",
        "--json",
    ];
    parts.set_vault(false).await;
    let output = parts.run(&revoke).await;
    assert_eq!(
        became(&output),
        [["not_done", "done", "done"]],
        "{}",
        text(&output)
    );
    assert!(text(&output).contains(&command), "{}", text(&output));
    assert!(!has_top(&parts.folder("there", "crabtw")));
    parts.set_vault(true).await;
    let output = parts.run(&revoke).await;
    assert_eq!(
        became(&output),
        [["not_done", "nothing", "done"]],
        "{}",
        text(&output)
    );
    assert!(text(&output).contains(&command), "{}", text(&output));
    // The ledger names it to a service too.
    parts.start().await;
    let output = parts.run(&revoke).await;
    assert!(text(&output).contains(&command), "{}", text(&output));
    assert!(parts.lives(&token).await);
    parts.kill(&accessor).await;
    assert!(!parts.lives(&token).await);
    parts.stop().await;

    // What nothing is noted of stays to be read until Vault answers, and is revoked then.
    let token = parts.stored("there", "cmsprod", "cms").unwrap();
    fs::remove_file(parts.chain.folder().join("state/deliveries.json")).unwrap();
    let revoke = [
        "revoke",
        "--account",
        "cmsprod",
        "--schedd",
        "there",
        "--json",
    ];
    parts.set_vault(false).await;
    let output = parts.run(&revoke).await;
    assert_eq!(
        became(&output),
        [["not_done", "not_done", "done"]],
        "{}",
        text(&output)
    );
    assert!(has_top(&parts.folder("there", "cmsprod")));
    parts.set_vault(true).await;
    let output = parts.run(&revoke).await;
    assert_eq!(
        became(&output),
        [["done", "done", "done"]],
        "{}",
        text(&output)
    );
    assert!(!parts.lives(&token).await);
    assert!(!has_top(&parts.folder("there", "cmsprod")));
}

#[tokio::test]
#[allow(
    clippy::too_many_lines,
    reason = "one pool for the whole story: it takes ten seconds to start"
)]
async fn a_stolen_schedd_of_a_pool_loses_every_token_whether_it_answers_or_not() {
    let _one = ONE.lock().await;
    let folder = tempfile::tempdir_in(sandbox::run_folder().unwrap()).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let chain = Chain::start(folder.path(), Lives::HOUR).await.unwrap();
    let options = installed::pool_options(&chain).unwrap();
    let pool = Pool::start(&folder.path().join("pool"), &chain.ca, &options)
        .await
        .unwrap();
    let mut bastion = installed::bastion(&chain, &pool).unwrap();
    bastion.arg("run");
    let log = folder.path().join("bastion.log");
    let mut service = Daemon::spawn("token-bastion", bastion, &log).unwrap();
    let client = client(&chain);
    let order = async |arguments: &[&str]| {
        let mut command = pool.command("root", "/usr/sbin/token-bastion");
        command.args(["--config", "/etc/token-bastion/token-bastion.yaml"]);
        let output = command.args(arguments).kill_on_drop(true).output();
        tokio::time::timeout(FAR, output).await.unwrap().unwrap()
    };
    let all_good = async || {
        wait::until("all good", FAR, async || {
            let output = order(&["status", "--json"]).await;
            let status: Value =
                serde_json::from_slice(&output.stdout).map_err(|_| text(&output))?;
            let good = deliveries(&status)
                .iter()
                .all(|line| line["state"] == "good");
            good.then_some(()).ok_or(status.to_string())
        })
        .await
        .unwrap();
    };
    let tokens = || {
        let folder = pool.credentials();
        let mut found = Vec::new();
        for (account, service) in [
            ("cmsprod", "cms"),
            ("cmsprod", "cms_production"),
            ("crabtw", "cms_crab"),
        ] {
            let top = folder.join(account).join(format!("{service}.top"));
            if let Ok(text) = fs::read(top) {
                let content: Value = serde_json::from_slice(&text).unwrap();
                found.push(VaultToken::from(
                    content["vault_token"].as_str().unwrap().to_owned(),
                ));
            }
        }
        found
    };
    let none_lives = async |tokens: &[VaultToken]| {
        for token in tokens {
            let error = client.lookup_self(token).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TokenRejected, "{error}");
        }
    };
    all_good().await;
    let before = tokens();
    assert_eq!(before.len(), 3);
    let output = order(&["revoke", "--all-at", pool.host(), "--json"]).await;
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}\n{}",
        text(&output),
        service.tail(20)
    );
    assert_eq!(
        became(&output),
        vec![["done", "done", "done"]; 3],
        "{}",
        text(&output)
    );
    none_lives(&before).await;
    assert!(tokens().is_empty());

    let output = order(&["push"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let before = tokens();
    assert_eq!(before.len(), 3);
    // Its credd does not answer any more.
    let off = pool
        .run("root", &["condor_off", "-fast", "-daemon", "credd"])
        .await;
    off.unwrap();
    wait::until("the credd's end", FAR, async || {
        let user = [
            "condor_ping",
            "-type",
            "CREDD",
            "-name",
            pool.host(),
            "READ",
        ];
        let answer = pool.run("root", &user).await;
        answer.map_or(Some(()), |answer| (answer.code != Some(0)).then_some(()))
    })
    .await
    .unwrap();
    let output = order(&["revoke", "--all-at", pool.host(), "--json"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert_eq!(
        became(&output),
        vec![["done", "not_done", "done"]; 3],
        "{}",
        text(&output)
    );
    none_lives(&before).await;
    assert_eq!(tokens().len(), 3, "nobody could delete them");
    service.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_configured_away_is_cut_off_by_the_command_that_the_reload_names() {
    let mut parts = parts().await;
    parts.start().await;
    parts.all_good().await;
    let cut = parts.stored("here", "crabtw", "cms_crab").unwrap();
    let kept = parts.stored("there", "crabtw", "cms_crab").unwrap();
    let yaml = fs::read_to_string(&parts.config).unwrap();
    let without = yaml.replace(
        "crabtw: {credentials",
        "crabtw: {schedds: [there], credentials",
    );
    assert_ne!(yaml, without);
    fs::write(&parts.config, without).unwrap();
    let service = parts.service.as_ref().unwrap();
    let said = service
        .wait_for_line("to end it now: token-bastion ", FAR)
        .await
        .unwrap();
    let (_, command) = said.split_once("to end it now: token-bastion ").unwrap();
    parts
        .status(|status| (deliveries(status).len() == 3).then_some(()))
        .await;
    assert!(parts.lives(&cut).await);

    let arguments: Vec<&str> = command.split_whitespace().chain(["--json"]).collect();
    let output = parts.run(&arguments).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(
        became(&output),
        [["done", "done", "done"]],
        "{}",
        text(&output)
    );
    assert!(!parts.lives(&cut).await && parts.lives(&kept).await);
    assert!(!has_top(&parts.folder("here", "crabtw")));

    // Of before a restart, a token is known by its accessor only: it is named.
    let gone = parts.stored("there", "cmsprod", "cms").unwrap();
    let accessor = parts.client.lookup_self(&gone).await.unwrap().accessor;
    parts.stop().await;
    let without = yaml.replace(
        "cmsprod: {credentials",
        "cmsprod: {schedds: [here], credentials",
    );
    fs::write(&parts.config, without).unwrap();
    parts.start().await;
    let revoke = [
        "revoke",
        "--account",
        "cmsprod",
        "--schedd",
        "there",
        "--json",
    ];
    let output = parts.run(&revoke).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let admins = format!("bao token revoke -accessor {accessor}");
    assert!(text(&output).contains(&admins), "{}", text(&output));
    assert!(
        !has_top(&parts.folder("there", "cmsprod")),
        "{}",
        text(&output)
    );

    let nothing = ["revoke", "--account", "cmsprd", "--schedd", "there"];
    let output = parts.run(&nothing).await;
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(
        text(&output).contains("did you mean \"cmsprod\"?"),
        "{}",
        text(&output)
    );
}
