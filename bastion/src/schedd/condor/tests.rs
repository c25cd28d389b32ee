//! Runs of tools that behave as those of HTCondor, and for whom credds take us.

use std::io::Write as _;
use std::process::Stdio;

use jiff::Timestamp;

use super::*;
use crate::fakes::Outside;
use crate::fixtures::{credd, credd_by, delivery_to, search};
use crate::schedd::discovery::{FoundSchedds, ScheddAd};
use crate::schedd::{Transport as _, Transports};
use crate::store::Store;

/// Message about an output, for an account `cmsprod`.
fn told(method: Method, domain: Option<&str>, stdout: &str, stderr: &str) -> Option<String> {
    let delivery = delivery_to(credd_by("ap.test", method, domain));
    assert_eq!(delivery.id.account, "cmsprod");
    let output = ToolOutput {
        success: stderr.is_empty(),
        stdout: stdout.to_owned(),
        stderr: stderr.to_owned(),
    };
    let request = CreddRequest::of(&delivery, Operation::Query);
    Some(request.check_output(&output).err()?.message)
}

#[tokio::test(start_paused = true)]
async fn a_schedd_without_an_address_that_has_not_its_own_name_is_not_asked_for_by_it() {
    let crab = ScheddAd {
        name: "crab@ap.test".to_owned(),
        machine: "ap.test".to_owned(),
        matches: true,
        ..ScheddAd::default()
    };
    let mut found = FoundSchedds::default();
    found.take(vec![crab], Timestamp::UNIX_EPOCH, Duration::from_hours(1));
    let folder = tempfile::tempdir().unwrap();
    let transports = with_tools(&folder, &[], &Outside::new());
    transports.learn(&search(Vec::new()), &found);
    let delivery = delivery_to(credd("ap.test"));
    let problem = transports.observe(&delivery).await.unwrap_err();
    // The collector is asked, with another tool, which this host does not have.
    assert_eq!(problem.kind, Kind::Transport, "{problem}");
    assert!(!problem.message.contains(TOOL), "{problem}");
}

/// Tools that note their arguments, a credd that moved and a collector that knows where to.
const STORE_CRED: &str = "#!/bin/sh
    echo $* >>FOLDER/runs
    case \"$*\" in
        *sock=old*) echo 'Failed to connect to <10.0.0.1:9618?sock=old>' >&2; exit 1 ;;
        *) echo 'cms_crab.top = 1795336935'; exit ;;
    esac
    ";
const STATUS: &str = "#!/bin/sh
    echo asked >>FOLDER/runs
    echo '[{\"Name\": \"ap.test\", \"Machine\": \"ap.test\", \"MyAddress\": \"<10.0.0.1:9618?sock=new>\"}]'
    ";
/// A collector that does not answer this one in time.
const SLOW_STATUS: &str = "#!/bin/sh
    echo asked >>FOLDER/runs
    exit 1
    ";

/// Transports to outside that have these tools, and no others of this host.
fn with_tools(
    folder: &tempfile::TempDir,
    tools: &[(&str, &str)],
    outside: &Outside,
) -> Transports<Outside> {
    for (tool, script) in tools {
        let path = folder.path().join(tool);
        let script = script.replace("FOLDER", folder.path().to_str().unwrap());
        // Written by another process: one that is open for writing here could not be run while others are begun.
        let mut write = std::process::Command::new("install");
        let mut write = write.args(["-m", "700", "/dev/stdin"]).arg(&path);
        write = write.stdin(Stdio::piped());
        let mut child = write.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(script.as_bytes())
            .unwrap();
        assert!(child.wait().unwrap().success());
    }
    let mut transports = Transports::new(outside.sessions(Store::default()));
    transports.condor = Condor(Tools::of(folder.path()));
    transports
}

/// Arguments of the tools that were run at each of two looks at a credd that moved.
async fn runs_at_a_credd_that_moved(status: &str) -> [Vec<String>; 2] {
    let folder = tempfile::tempdir().unwrap();
    let tools = [(TOOL, STORE_CRED), ("condor_status", status)];
    let transports = with_tools(&folder, &tools, &Outside::new());
    let schedd = ScheddAd {
        name: "ap.test".to_owned(),
        machine: "ap.test".to_owned(),
        credd: Some("<10.0.0.1:9618?sock=old>".to_owned()),
        matches: true,
        ..ScheddAd::default()
    };
    let mut found = FoundSchedds::default();
    found.take(vec![schedd], Timestamp::UNIX_EPOCH, Duration::from_hours(1));
    transports.learn(&search(Vec::new()), &found);
    let delivery = delivery_to(credd("ap.test"));
    let file = folder.path().join("runs");
    let mut runs = [Vec::new(), Vec::new()];
    for runs in &mut runs {
        let observed = transports.observe(&delivery).await.unwrap();
        assert!(observed.stored.is_some());
        let text = std::fs::read_to_string(&file).unwrap();
        runs.extend(text.lines().map(str::to_owned));
        std::fs::remove_file(&file).unwrap();
    }
    runs
}

#[tokio::test]
async fn a_credd_that_moved_is_sought_at_the_collector_and_found_there_from_then_on() {
    let [first, second] = runs_at_a_credd_that_moved(STATUS).await;
    assert_eq!((first.len(), second.len()), (4, 1), "{first:?} {second:?}");
    for runs in [first, second] {
        assert!(runs.last().unwrap().contains("sock=new"), "{runs:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_credd_that_moved_is_asked_however_long_the_one_of_before_was_waited_for() {
    const SILENT: &str = "#!/bin/sh
        case \"$*\" in
            *sock=old*) exec sleep 60 ;;
            *) echo 'cms_crab.top = 1795336935' ;;
        esac
        ";
    let folder = tempfile::tempdir().unwrap();
    let transports = with_tools(&folder, &[(TOOL, SILENT)], &Outside::new());
    let learn = |address: &str| {
        let schedd = ScheddAd {
            name: "ap.test".to_owned(),
            machine: "ap.test".to_owned(),
            credd: Some(address.to_owned()),
            matches: true,
            ..ScheddAd::default()
        };
        let mut found = FoundSchedds::default();
        found.take(vec![schedd], Timestamp::UNIX_EPOCH, Duration::from_hours(1));
        transports.learn(&search(Vec::new()), &found);
    };
    learn("<10.0.0.1:9618?sock=old>");
    let delivery = delivery_to(credd("ap.test"));
    let moves = async {
        tokio::time::sleep(DEADLINE.mul_f64(0.998)).await;
        learn("<10.0.0.1:9618?sock=new>");
        // The rest takes its time.
        tokio::time::resume();
    };
    let (observed, ()) = tokio::join!(transports.observe(&delivery), moves);
    assert!(observed.unwrap().stored.is_some());
}

#[tokio::test]
async fn a_credd_that_moved_is_found_by_its_name_while_the_collector_is_slow() {
    let [first, second] = runs_at_a_credd_that_moved(SLOW_STATUS).await;
    assert_eq!((first.len(), second.len()), (4, 3), "{first:?} {second:?}");
    for runs in [first, second] {
        assert!(!runs.last().unwrap().contains("sock="), "{runs:?}");
    }
}

#[tokio::test]
async fn a_refusal_without_a_token_takes_nobody_elses_token_away() {
    const REFUSES: &str = "#!/bin/sh\necho 'Failed to authenticate with any method' >&2\nexit 1\n";
    let (folder, outside) = (tempfile::tempdir().unwrap(), Outside::new());
    let transports = with_tools(&folder, &[(TOOL, REFUSES)], &outside);
    let by_token = delivery_to(credd("ap.test"));
    let by_certificate = delivery_to(credd_by("ap.test", Method::Ssl, None));
    transports.openers.of(&by_token).await.unwrap();
    let reads = outside.lock().reads.len();
    let problem = transports.observe(&by_certificate).await.unwrap_err();
    assert!(problem.message.contains("any method"), "{problem}");
    transports.openers.of(&by_token).await.unwrap();
    assert_eq!(outside.lock().reads.len(), reads, "it is still known");
}

const REFUSED: &str = "Operation failed because it is not allowed\n";

#[test]
fn another_user_than_the_account_is_a_fault_in_whatever_way_it_is_told() {
    let named = "MyRemoteUserName = \"crabtw@ap.test\"\n";
    let refused = format!("{named}{REFUSED}");
    for (stdout, stderr, user) in [
        (
            "fully_qualified_user = \"crabtw@ap.test\"",
            "",
            "user crabtw@ap.test",
        ),
        ("", refused.as_str(), "user crabtw@ap.test"),
        ("", REFUSED, "another user"),
    ] {
        let message = told(Method::Scitokens, None, stdout, stderr).unwrap();
        let takes = format!("takes the access token of cms_crab for {user}, not for cmsprod;");
        assert!(message.contains(&takes), "{message}");
        let message = told(Method::Ssl, None, stdout, stderr).unwrap();
        let takes = format!("takes this host for {user} by SSL, not for cmsprod;");
        assert!(message.contains(&takes), "{message}");
        let superuser = told(Method::Ssl, Some("ap.test"), stdout, stderr);
        assert_eq!(superuser, None);
    }
}

#[test]
fn the_account_itself_is_none_and_what_says_nothing_shows_none() {
    let own = "fully_qualified_user = \"cmsprod@other.test\"";
    assert_eq!(told(Method::Scitokens, None, own, ""), None);
    let old = "Credential info:\ncms.top = 1795362556\n";
    assert_eq!(told(Method::Scitokens, None, old, ""), None);
    let failed = "Operation failed: unknown error\n";
    assert_eq!(told(Method::Scitokens, None, "", failed), None);
}
