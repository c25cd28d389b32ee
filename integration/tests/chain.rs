//! The chain on this host, on the real parts: keytab, KDC, Vault, issuer, bastion with the
//! transport `directory`, credmon. And what each says of bad input.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Output;

use htvault::clock::{Clock as _, SystemClock};
use htvault::{Client, Settings};
use integration::ca::Ca;
use integration::chain::{Lives, VAULT};
use integration::demo::{observe::Observer, story::Story};
use integration::ended::{self, text};
use integration::here::Here;
use integration::process::Daemon;
use integration::wait;
use integration::wait::FAR;

/// One chain at a time: they share the sandbox's addresses.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

struct Parts {
    here: Here,
    _one: tokio::sync::MutexGuard<'static, ()>,
}

async fn parts(lives: Lives) -> Parts {
    let one = ONE.lock().await;
    Parts {
        here: Here::start(lives).await.unwrap(),
        _one: one,
    }
}

impl Parts {
    async fn bastion(&self, yaml: &str, command: &str) -> Output {
        let config = self.here.chain.write_bastion_config(yaml).unwrap();
        let mut bastion = self.here.chain.bastion(&config).unwrap();
        // A proxy of the environment is not for Vault.
        bastion
            .arg(command)
            .env("https_proxy", "http://127.0.0.1:9")
            .env("HTTPS_PROXY", "http://127.0.0.1:9")
            .env("ALL_PROXY", "http://127.0.0.1:9");
        ended::output(bastion, FAR).await.unwrap()
    }

    fn service(&self) -> Daemon {
        let chain = &self.here.chain;
        let config = chain.write_bastion_config(&self.here.yaml()).unwrap();
        chain.service(&config).unwrap()
    }

    fn use_file(&self, account: &str, service: &str) -> PathBuf {
        self.here
            .directory
            .join(account)
            .join(format!("{service}.use"))
    }
}

#[tokio::test]
async fn both_tokens_are_renewed_without_a_gap_and_the_replaced_ones_are_revoked() {
    let mut parts = parts(Lives::QUICK).await;
    let mut bastion = parts.service();

    let mut settings = Settings::new(VAULT.parse().unwrap());
    settings.tls.ca_file = Some(parts.here.chain.ca.file());
    let client = Client::new(&settings).unwrap();
    let mut observer = Observer::new(parts.here.directory.clone(), client);
    let mut story = Story::default();
    wait::until("two renewals of each token", FAR, async || {
        let now = SystemClock.now();
        story.tell(&observer.look(now).await, now);
        let enough = story.seen.len() == 3
            && story
                .seen
                .values()
                .all(|seen| seen.access_renewals >= 2 && seen.vault_renewals >= 2);
        if enough {
            Ok(())
        } else {
            Err(format!("{:?}", story.seen))
        }
    })
    .await
    .unwrap();
    for (delivery, seen) in &story.seen {
        assert_eq!(seen.gaps, 0, "{delivery:?}: {}", bastion.tail(30));
    }

    // As HTCondor's credd and credmon leave them.
    let folder = fs::metadata(parts.here.directory.join("crabtw")).unwrap();
    assert_eq!(folder.mode() & 0o7777, 0o2700);
    for (file, mode) in [("cms_crab.top", 0o600), ("cms_crab.use", 0o400)] {
        let meta = fs::metadata(parts.here.directory.join("crabtw").join(file)).unwrap();
        assert_eq!(meta.mode() & 0o7777, mode, "{file}");
    }
    let mut names: Vec<String> = fs::read_dir(parts.here.directory.join("crabtw"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["cms_crab.top", "cms_crab.use"]);

    let requests = fs::read_to_string(parts.here.chain.requests()).unwrap();
    assert!(
        requests.matches("auth/token/revoke-self").count() >= 3,
        "{requests}"
    );

    // A stop leaves all as it is: jobs go on.
    let uses = use_files(&parts.here.directory);
    assert_eq!(bastion.stop().await.unwrap().code(), Some(0));
    let credmon = &mut parts.here.credmon;
    assert_eq!(credmon.stop().await.unwrap().code(), Some(0));
    assert_eq!(
        uses.keys().collect::<Vec<_>>(),
        use_files(&parts.here.directory).keys().collect::<Vec<_>>()
    );
    let said = format!("{}{}", bastion.tail(10_000), credmon.tail(10_000));
    for (_, token) in use_files(&parts.here.directory) {
        assert!(!said.contains(token.trim()), "a log holds an access token");
    }
    for top in ["cmsprod/cms.top", "crabtw/cms_crab.top"] {
        let top: serde_json::Value =
            serde_json::from_slice(&fs::read(parts.here.directory.join(top)).unwrap()).unwrap();
        assert!(
            !said.contains(top["vault_token"].as_str().unwrap()),
            "a log holds a vault token"
        );
    }
}

fn use_files(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for folder in fs::read_dir(directory).unwrap().filter_map(Result::ok) {
        for file in fs::read_dir(folder.path())
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
        {
            if file.path().extension().is_some_and(|e| e == "use") {
                found.insert(file.path(), fs::read_to_string(file.path()).unwrap());
            }
        }
    }
    found
}

/// Runs `once` with a configuration in which something is wrong for `crabtw` alone; gives what the
/// bastion said, after seeing that cmsprod got its tokens all the same.
async fn wrong_for_crabtw(parts: &Parts, key: &str) -> String {
    let yaml = parts
        .here
        .yaml()
        .replace("  crabtw:\n", &format!("  crabtw:\n    {key}\n"));
    let output = parts.bastion(&yaml, "once").await;
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(parts.use_file("cmsprod", "cms").exists(), "{said}");
    assert!(
        parts.use_file("cmsprod", "cms_production").exists(),
        "{said}"
    );
    assert!(!parts.use_file("crabtw", "cms_crab").exists(), "{said}");
    messages(&output)
}

/// The lines for people: one for each thing that is wrong.
fn messages(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr)
        .lines()
        .filter(|line| line.starts_with("token-bastion: "))
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test]
async fn a_missing_keytab_stops_its_account_alone() {
    let parts = parts(Lives::SHORT).await;
    let said = wrong_for_crabtw(&parts, "keytab: /nowhere/crabtw.keytab").await;
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("account crabtw"), "{said}");
    assert!(said.contains("/nowhere/crabtw.keytab"), "{said}");
    assert!(
        said.contains("put the keytab there or correct the path"),
        "{said}"
    );

    let yaml = parts.here.yaml().replace(
        "  crabtw:\n",
        "  crabtw:\n    keytab: /nowhere/crabtw.keytab\n",
    );
    let check = parts.bastion(&yaml, "check").await;
    assert_eq!(check.status.code(), Some(2), "{}", text(&check));
    let said = messages(&check);
    let faults = said.lines().filter(|line| !line.contains(": warning: "));
    assert_eq!(faults.count(), 1, "{}", text(&check));
}

#[tokio::test]
async fn a_wrong_principal_stops_its_account_alone() {
    let parts = parts(Lives::SHORT).await;
    let said = wrong_for_crabtw(&parts, "principal: nobody@TEST").await;
    assert_eq!(said.lines().count(), 1, "{said}");
    for part in ["account crabtw", "nobody@TEST", "crabtw.keytab", "klist -k"] {
        assert!(said.contains(part), "{said}");
    }
}

#[tokio::test]
async fn a_keytab_that_the_service_may_not_read_is_named() {
    let parts = parts(Lives::SHORT).await;
    // As another user than root, who may read everything.
    let everybody = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    everybody(&parts.here.directory, 0o2770);
    std::os::unix::fs::chown(&parts.here.directory, Some(65_534), Some(65_534)).unwrap();
    let keytab = parts.here.chain.keytabs().join("cmsprod.keytab");
    std::os::unix::fs::chown(&keytab, Some(65_534), Some(65_534)).unwrap();
    let state = parts.here.chain.folder().join("state");
    fs::create_dir_all(&state).unwrap();
    std::os::unix::fs::chown(&state, Some(65_534), Some(65_534)).unwrap();
    let config = parts
        .here
        .chain
        .write_bastion_config(&parts.here.yaml())
        .unwrap();
    let bastion = parts.here.chain.bastion(&config).unwrap();
    let mut command = tokio::process::Command::new("setpriv");
    command
        .args([
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "--",
        ])
        .arg(bastion.as_std().get_program())
        .args(bastion.as_std().get_args())
        .arg("once")
        .env("KRB5_CONFIG", parts.here.chain.kdc.krb5_conf());
    let output = ended::output(command, FAR).await.unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let message = messages(&output);
    assert_eq!(message.lines().count(), 1, "{said}");
    for part in [
        "account crabtw",
        "crabtw.keytab",
        "Permission denied",
        "make the keytab readable",
    ] {
        assert!(message.contains(part), "{said}");
    }
    assert!(parts.use_file("cmsprod", "cms").exists(), "{said}");
}

#[tokio::test]
async fn an_unknown_key_is_placed_and_the_nearest_known_one_named() {
    let parts = parts(Lives::SHORT).await;
    let yaml = parts.here.yaml().replace("tokens:", "tokns:");
    let line = yaml.lines().position(|l| l.starts_with("tokns")).unwrap() + 1;
    for command in ["check", "once", "run"] {
        let output = parts.bastion(&yaml, command).await;
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        let said = messages(&output);
        assert_eq!(said.lines().count(), 1, "{said}");
        let place =
            format!("token-bastion.yaml:{line}:1: tokns: unknown key, did you mean \"tokens\"?");
        assert!(said.ends_with(&place), "{said}");
    }
}

#[tokio::test]
async fn an_untrusted_vault_and_one_that_is_down_are_one_message_each() {
    let mut parts = parts(Lives::SHORT).await;
    let other = Ca::create(&parts.here.chain.folder().join("other-ca"), "Another CA").unwrap();
    let ca_file = |path: &Path| format!("ca_file: {}", path.display());
    let yaml = parts.here.yaml().replace(
        &ca_file(&parts.here.chain.ca.file()),
        &ca_file(&other.file()),
    );
    let output = parts.bastion(&yaml, "once").await;
    let said = messages(&output);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert_eq!(said.lines().count(), 1, "{said}");
    for part in [
        VAULT,
        "UnknownIssuer",
        &other.file().display().to_string(),
        "check the CA file",
    ] {
        assert!(said.contains(part), "{said}");
    }

    let missing = parts.here.yaml().replace(
        &ca_file(&parts.here.chain.ca.file()),
        "ca_file: /nowhere/ca.pem",
    );
    let output = parts.bastion(&missing, "once").await;
    let said = messages(&output);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("/nowhere/ca.pem"), "{said}");

    parts.here.chain.vault.stop().await.unwrap();
    let output = parts.bastion(&parts.here.yaml(), "once").await;
    let said = messages(&output);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert_eq!(said.lines().count(), 1, "{said}");
    for part in [VAULT, "refused", "check the address"] {
        assert!(said.contains(part), "{said}");
    }
}

#[tokio::test]
async fn a_vault_that_comes_back_is_used_again_and_no_token_is_lost_meanwhile() {
    let mut parts = parts(Lives::SHORT).await;
    let output = parts.bastion(&parts.here.yaml(), "once").await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let before = use_files(&parts.here.directory);

    // Its store is in memory: after the restart every vault token is dead.
    parts.here.chain.vault.stop().await.unwrap();
    parts.here.chain.restart_vault().await.unwrap();
    let bastion = parts.service();
    wait::until("new tokens after the restart", FAR, async || {
        let now = use_files(&parts.here.directory);
        assert_eq!(
            now.len(),
            before.len(),
            "a token is gone\n{}",
            bastion.tail(20)
        );
        now.iter()
            .all(|(path, token)| before[path] != *token)
            .then_some(())
    })
    .await
    .unwrap();
}
