//! A delivery is revoked, or all of a schedd.

use std::fs;
use std::process::Output;

use htvault::{ErrorKind, VaultToken};
use integration::chain::{Chain, Lives, installed};
use integration::ended::{self, text};
use integration::pool::Pool;
use integration::process::Daemon;
use integration::{sandbox, wait};
use serde_json::Value;

use crate::{FAR, ONE, Parts, client, deliveries, has_top, parts, state};

/// What became of the steps of each delivery that was meant; the exit code says whether all is done.
#[track_caller]
fn assert_became(output: &Output, expected: &[[&str; 3]]) {
    let reports: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(output)));
    let words = |report: &Value| {
        let steps = report["steps"].as_array().unwrap().iter();
        let became = steps.map(|step| step["became"].as_str().unwrap().to_owned());
        became.collect::<Vec<String>>()
    };
    let became: Vec<Vec<String>> = reports.as_array().unwrap().iter().map(words).collect();
    assert_eq!(became, expected, "{}", text(output));
    let is_done = !expected.as_flattened().contains(&"not_done");
    let code = i32::from(!is_done);
    assert_eq!(output.status.code(), Some(code), "{}", text(output));
}

impl Parts {
    /// Orders the revocation of what an account has at a schedd.
    async fn revoke(&self, account: &str, schedd: &str) -> Output {
        let meant = ["--account", account, "--schedd", schedd];
        self.run(&[&["revoke", "--json"], &meant[..]].concat())
            .await
    }

    /// The same order with Vault away, and again when it answers. `expected` is what becomes of the
    /// steps; given is what each said.
    async fn revoke_with_vault_away(
        &self,
        account: &str,
        schedd: &str,
        [away, back]: [[&str; 3]; 2],
    ) -> [String; 2] {
        let mut said = [const { String::new() }; 2];
        for ((vault, expected), said) in [(false, away), (true, back)].into_iter().zip(&mut said) {
            self.set_vault(vault).await;
            let output = self.revoke(account, schedd).await;
            assert_became(&output, &[expected]);
            let [_, stored, _] = expected;
            let is_there = has_top(&self.folder(schedd, account));
            assert_eq!(is_there, stored == "not_done", "{}", text(&output));
            *said = text(&output);
        }
        said
    }
}

#[tokio::test]
async fn one_of_two_deliveries_is_revoked_and_stays_so_over_a_restart() {
    let mut parts = parts().await;
    parts.start().await;
    parts.all_good().await;
    let revoked = parts.stored("here", "crabtw", "cms_crab").unwrap();
    let kept = parts.stored("there", "crabtw", "cms_crab").unwrap();
    let output = parts.revoke("crabtw", "here").await;
    assert_became(&output, &[["done", "done", "done"]]);
    assert!(!parts.lives(&revoked).await);
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
    // cmsprod's could be read back and was revoked.
    let expected = [["done", "done", "done"], ["not_done", "nothing", "done"]];
    assert_became(&output, &expected);
    let command = format!("bao token revoke -accessor {accessor}");
    assert!(text(&output).contains(&command), "{}", text(&output));

    // What the admins do then ends it.
    assert!(parts.lives(&token).await);
    parts.kill(&accessor).await;
    assert!(!parts.lives(&token).await);

    // With Vault away it is revoked as far as that is possible, and named in that run and in the next.
    let token = parts.stored("there", "crabtw", "cms_crab").unwrap();
    let accessor = parts.client.lookup_self(&token).await.unwrap().accessor;
    let command = format!("bao token revoke -accessor {accessor}");
    let expected = [
        ["not_done", "done", "done"],
        ["not_done", "nothing", "done"],
    ];
    let said = parts.revoke_with_vault_away("crabtw", "there", expected);
    for said in said.await {
        assert!(said.contains(&command), "{said}");
    }
    // The state names it to a service too.
    parts.start().await;
    let output = parts.revoke("crabtw", "there").await;
    assert!(text(&output).contains(&command), "{}", text(&output));
    assert!(parts.lives(&token).await);
    parts.kill(&accessor).await;
    assert!(!parts.lives(&token).await);
    parts.stop().await;

    // What nothing is noted of stays to be read until Vault answers, and is revoked then.
    let token = parts.stored("there", "cmsprod", "cms").unwrap();
    fs::remove_file(parts.chain.folder().join("state/state.json")).unwrap();
    let expected = [["not_done", "not_done", "done"], ["done", "done", "done"]];
    let _ = parts
        .revoke_with_vault_away("cmsprod", "there", expected)
        .await;
    assert!(!parts.lives(&token).await);
}

#[tokio::test]
#[allow(
    clippy::too_many_lines,
    reason = "one pool for the whole story: it takes ten seconds to start"
)]
async fn a_stolen_schedd_of_a_pool_loses_every_token_whether_it_answers_or_not() {
    let _one = ONE.lock().await;
    let folder = sandbox::new_folder().unwrap();
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
        command.args(arguments);
        ended::output(command, FAR).await.unwrap()
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
    assert_became(&output, &[["done", "done", "done"]; 3]);
    none_lives(&before).await;
    assert!(tokens().is_empty());

    let output = order(&["push"]).await;
    let said = text(&output);
    assert!(said.contains("3 left out, revoked or"), "{said}");
    assert_eq!(output.status.code(), Some(1), "nothing was pushed");
    assert!(tokens().is_empty());
    let output = order(&["push", "--schedd", pool.host()]).await;
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
    assert_became(&output, &[["done", "not_done", "done"]; 3]);
    none_lives(&before).await;
    assert_eq!(tokens().len(), 3, "nobody could delete them");
    service.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_configured_away_is_revoked_by_the_command_that_the_reload_names() {
    let mut parts = parts().await;
    parts.start().await;
    parts.all_good().await;
    let revoked = parts.stored("here", "crabtw", "cms_crab").unwrap();
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
        .wait_for_line("to revoke it now: token-bastion ", FAR)
        .await
        .unwrap();
    let (_, command) = said.split_once("to revoke it now: token-bastion ").unwrap();
    parts
        .status(|status| (deliveries(status).len() == 3).then_some(()))
        .await;
    assert!(parts.lives(&revoked).await);

    let arguments = command.split_whitespace().chain(["--json"]);
    let arguments: Vec<&str> = arguments.collect();
    let output = parts.run(&arguments).await;
    assert_became(&output, &[["done", "done", "done"]]);
    assert!(!parts.lives(&revoked).await && parts.lives(&kept).await);
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
    let output = parts.revoke("cmsprod", "there").await;
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
