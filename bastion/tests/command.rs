//! The program as people run it: what it prints, and its exit codes. No network is needed.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

use std::fs;
use std::io::Write as _;
use std::ops::Deref;
use std::path::Path;
use std::process::{Command, Stdio};

mod host;

struct Host(host::Host);

impl Deref for Host {
    type Target = host::Host;

    fn deref(&self) -> &host::Host {
        &self.0
    }
}

impl Host {
    fn new() -> Self {
        Self(host::Host::new(&keytab("cmsprod", "TEST")))
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        self.run_with(Path::new("c.yaml"), arguments)
    }

    /// Exit code, output and errors, without the name of the host's folder.
    fn run_with(&self, config: &Path, arguments: &[&str]) -> (i32, String, String) {
        let output = self.command(config).args(arguments).output().unwrap();
        let text = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            text.replace(&format!("{}/", self.dir.path().display()), "")
        };
        (
            output.status.code().unwrap(),
            text(&output.stdout),
            text(&output.stderr),
        )
    }
}

/// Content of a keytab with one key: version 2 of MIT's format.
fn keytab(name: &str, realm: &str) -> Vec<u8> {
    let counted = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).unwrap();
        [&length.to_be_bytes(), bytes].concat()
    };
    // One component; name type, time, version and key type; the key.
    let entry = [
        vec![0, 1],
        counted(realm.as_bytes()),
        counted(name.as_bytes()),
        vec![0, 0, 0, 1, 0, 0, 0, 0, 2, 0, 18],
        counted(&[0; 32]),
    ]
    .concat();
    let length = u32::try_from(entry.len()).unwrap();
    [&[5, 2], length.to_be_bytes().as_slice(), &entry].concat()
}

#[test]
fn check_lists_what_would_be_delivered() {
    let host = Host::new();
    let (code, out, err) = host.run(&["check"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(
        out,
        "ACCOUNT  SERVICE   ISSUER/ROLE  CREDKEY  TRANSPORT  LIFETIME  RENEW BELOW  OPENED BY  SCHEDD\n\
         cmsprod  cms_crab  cms/crab     cmsprod  directory  7d        3d           -          here\n"
    );
    let (code, out, _) = host.run(&["check", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 0);
    assert_eq!(json["deliveries"][0]["role"], "crab");
    assert_eq!(json["deliveries"][0]["lifetime_seconds"], 604_800);
}

#[test]
fn check_shows_what_will_be_searched_for_and_how_credds_are_opened() {
    let host = Host::new();
    let group = "{collector: cm.test, constraint: \"Crab == true\", superuser_for: test}";
    host.deliver_to_found(group, "[crab, \"!x*\"]");
    let (code, out, err) = host.run(&["check"]);
    assert_eq!(code, 0, "a warning stops nothing: {err}");
    assert_eq!(
        out.lines().nth(1).unwrap(),
        "cmsprod  cms_crab  cms/crab     cmsprod  cedar      7d        3d           \
         scitokens cms_crab for cmsprod@test  \
         crab (collector cm.test, constraint Crab == true, named * !x*)"
    );
    let warning = "schedds.here: nothing is delivered to this group, name it in an account's `schedds` or remove it";
    assert!(err.starts_with("token-bastion: warning: c.yaml:"), "{err}");
    assert!(err.trim_end().ends_with(warning), "{err}");
    let (_, out, _) = host.run(&["check", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["deliveries"], serde_json::json!([]));
    let search = &json["searches"][0];
    assert_eq!(search["group"], "crab");
    assert_eq!(search["constraint"], "Crab == true");
    assert_eq!(search["schedds"], "* !x*");
    assert_eq!(search["renew_below_seconds"], 259_200);
    assert!(json["warnings"][0].as_str().unwrap().ends_with(warning));

    fs::remove_file(host.path("kt")).unwrap();
    let (code, _, err) = host.run(&["check"]);
    assert_eq!(code, 2, "a search needs its keytab too");
    assert!(
        err.contains("account cmsprod: keytab kt: there is no such file"),
        "{err}"
    );
}

#[test]
fn schema_needs_no_configuration() {
    let (code, out, _) = Host::new().run_with(Path::new("/nowhere/c.yaml"), &["schema"]);
    assert_eq!(code, 0);
    let schema: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    assert_eq!(schema["properties"]["vault"]["additionalProperties"], false);
}

#[test]
fn check_says_which_keytab_is_missing_or_open_to_all_and_ends_with_2() {
    let host = Host::new();
    host.mode("kt", 0o444);
    let (code, _, err) = host.run(&["check"]);
    assert_eq!(code, 2);
    assert_eq!(
        err,
        "token-bastion: account cmsprod: keytab kt: everybody may use it (mode 0444); `chmod 0400` it, and make a new key if others could have read it\n"
    );
    fs::remove_file(host.path("kt")).unwrap();
    let (code, _, err) = host.run(&["check"]);
    assert_eq!(code, 2);
    assert_eq!(
        err,
        "token-bastion: account cmsprod: keytab kt: there is no such file; put the keytab there or correct the path\n"
    );
}

#[test]
fn once_with_a_missing_keytab_says_so_once_and_ends_with_1() {
    let host = Host::new();
    fs::remove_file(host.path("kt")).unwrap();
    let (code, out, err) = host.run(&["once"]);
    assert_eq!(code, 1);
    assert!(
        out.contains("cmsprod  cms_crab  here    failed  -      -     -     fix here"),
        "{out}"
    );
    let told: Vec<&str> = err
        .lines()
        .filter(|line| line.contains("put the keytab there"))
        .collect();
    assert_eq!(
        told,
        [
            "token-bastion: account cmsprod: Kerberos login of cmsprod@TEST failed: No such file or directory (os error 2) (keytab kt); put the keytab there or correct the path"
        ]
    );
    let (code, out, _) = host.run(&["once", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 1);
    assert_eq!(json["deliveries"][0]["state"], "failed");
    assert_eq!(json["problems"][0]["remedy"], "fix_this_host");
}

#[test]
fn a_fault_of_the_configuration_ends_every_command_with_2() {
    let host = Host::new();
    host.edit("keytab", "keytap");
    for command in ["check", "once", "run"] {
        let (code, out, err) = host.run(&[command]);
        assert_eq!(code, 2, "{command}");
        assert_eq!(out, "");
        assert!(
            err.contains("accounts.cmsprod.keytap: unknown key, did you mean \"keytab\"?"),
            "{err}"
        );
    }
}

#[test]
fn faults_of_the_configuration_are_in_the_json_of_check() {
    let host = Host::new();
    let yaml = host.yaml();
    // Ones that a running service would not use, and ones of this host's files.
    let unusable = yaml.replace("keytab", "keytap").replace("vault:", "volt:");
    for (yaml, faults) in [
        (
            unusable,
            [
                "unknown key, did you mean \"keytab\"?",
                "c.yaml:3:1: volt: unknown key",
            ]
            .as_slice(),
        ),
        (yaml.replace("/kt,", "/nokt,"), &["there is no such file"]),
    ] {
        fs::write(host.path("c.yaml"), yaml).unwrap();
        let (code, out, err) = host.run(&["check", "--json"]);
        assert_eq!((code, err.as_str()), (2, ""), "{out}");
        let json: serde_json::Value = serde_json::from_str(&out).unwrap();
        let told: Vec<&str> = json["faults"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| f.as_str().unwrap())
            .collect();
        for fault in faults {
            assert!(told.iter().any(|told| told.contains(fault)), "{told:?}");
        }
        assert!(
            json["deliveries"].is_array() && json["warnings"].is_array(),
            "{out}"
        );
    }
}

#[test]
fn authorities_that_cannot_be_read_end_every_command_with_2() {
    let host = Host::new();
    host.edit(":1\"}", ":1\", ca_file: /nowhere/ca.pem}");
    for command in ["check", "once", "run"] {
        let (code, _, err) = host.run(&[command]);
        assert_eq!(code, 2, "{command}");
        let line = "token-bastion: CA file /nowhere/ca.pem cannot be used: No such file or directory (os error 2); name a PEM file that this user may read";
        assert!(err.lines().any(|told| told == line), "{err}");
    }
}

#[test]
fn authorities_in_a_pipe_or_device_are_refused_and_waited_for_by_nobody() {
    let host = Host::new();
    let fifo = host.path("ca.pem");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for file in [fifo.as_path(), Path::new("/dev/zero")] {
        let named = format!(":1\", ca_file: {}}}", file.display());
        host.configure("c.yaml", "control", "");
        host.edit(":1\"}", &named);
        let (code, _, err) = host.run(&["check"]);
        assert_eq!(code, 2);
        let words = "cannot be used: it is no plain file; name a PEM file that this user may read";
        assert!(err.contains(words), "{err}");
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    let host = Host::new();
    assert_eq!(host.run(&["chekc"]).0, 2);
    assert_eq!(host.run(&[]).0, 2);
    assert_eq!(host.run(&["check", "--yaml"]).0, 2);
}

#[test]
fn the_examples_pass_check_but_for_what_is_missing_on_this_host() {
    for name in ["smallest.yaml", "full.yaml"] {
        let example = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../config-examples/token-bastion")
            .join(name);
        let (_, out, err) = Host::new().run_with(&example, &["check"]);
        assert!(out.contains("cmsprod"));
        for line in err.lines() {
            let missing =
                line.contains("there is no such file") || line.contains("CA file /etc/pki");
            assert!(missing, "{line}");
        }
    }
}

#[test]
fn commands_for_the_service_say_that_it_does_not_run_and_end_with_1() {
    let host = Host::new();
    for command in ["status", "push", "retry", "reload"] {
        let (code, out, err) = host.run(&[command]);
        assert_eq!((code, out.as_str()), (1, ""), "{command}");
        assert_eq!(
            err,
            "token-bastion: the service does not run: there is no socket control; start it with `systemctl start token-bastion`, and see `journalctl -u token-bastion` if it does not stay\n"
        );
    }
}

#[test]
fn an_account_whose_schedds_are_not_found_yet_is_offboarded_as_far_as_its_refresh_token() {
    let host = Host::new();
    host.deliver_to_found("{collector: \"127.0.0.1:1\"}", "[crab]");
    let offboard = ["offboard", "--yes", "--json", "--account"];
    let (code, out, err) = host.run(&[&offboard[..], &["cmsprod"]].concat());
    assert_eq!(code, 1, "Vault does not answer: {err}");
    let whole: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(whole["deliveries"], serde_json::json!([]));
    assert_eq!(whole["vault"][0]["became"], "not_done", "{whole}");
    let (code, out, err) = host.run(&[&offboard[..], &["cmsprot"]].concat());
    assert_eq!((code, out.as_str()), (2, ""), "a misspelt name");
    assert!(err.contains("did you mean \"cmsprod\"?"), "{err}");
}

#[test]
fn a_refresh_token_of_several_services_is_forgotten_once() {
    let host = Host::new();
    let more = "{cms_crab: {}, cms_other: {}, cms_reduced: {issuer: cms, role: crab, audience: x}}";
    host.edit("{cms_crab: {}}", more);
    let (code, out, err) = host.run(&["offboard", "--dry-run", "--account", "cmsprod"]);
    assert_eq!(code, 0, "{err}");
    let forgotten = out.lines().filter(|line| line.starts_with("forget"));
    assert_eq!(forgotten.count(), 2, "{out}");
}

#[test]
fn shells_get_their_completions() {
    let host = Host::new();
    for (shell, word) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef token-bastion"),
        ("fish", "complete -c token-bastion"),
    ] {
        let (code, out, _) = host.run(&["completions", shell]);
        assert_eq!(code, 0);
        assert!(out.contains(word) && out.contains("retry"), "{shell}");
    }
}

#[test]
fn bash_completes_commands_and_their_arguments() {
    let host = Host::new();
    let (code, script, _) = host.run(&["completions", "bash"]);
    assert_eq!(code, 0);
    let complete = |words: &[&str]| {
        let test = r#"
            source /dev/stdin
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
            complete -p token-bastion >/dev/null || exit 1
            _token__bastion token-bastion "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
            echo "${COMPREPLY[@]}"
        "#;
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", test, "test", "token-bastion"]);
        let mut child = (bash
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped()))
        .spawn()
        .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(script.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete(&["stat"]), "status");
    assert_eq!(complete(&["revoke", "--all"]), "--all-at");
    assert_eq!(complete(&["completions", "z"]), "zsh");
    assert!(complete(&["status", "--"]).contains("--watch"));
}

#[test]
fn a_configuration_that_was_named_and_is_not_there_is_said_before_the_service_is_missed() {
    let host = Host::new();
    for command in ["status", "push", "reload", "plan"] {
        let (code, _, said) = host.run_with(Path::new("other.yaml"), &[command]);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("other.yaml"), "{said}");
    }
}
