//! Credds and collectors that behave badly, and names that certificates must have. What good ones do is tested on real
//! pools.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use secrecy::SecretString;
use tokio::net::TcpListener;

use super::*;
use crate::fakes::Outside;
use crate::fixtures::delivery_to;
use crate::model::delivery::{Authentication, CreddTarget, Delivery, Target, Way};
use crate::model::problem::Cause;
use crate::schedd::{DEADLINE, Transport as _, Transports};
use crate::store::Store;

const AUTHORITY: &str = include_str!("authority.pem");

/// Accepts connections, and closes each at once.
async fn rude() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    (address, count)
}

fn delivery(host: &str, collector: Option<String>, folder: &tempfile::TempDir) -> Delivery {
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, AUTHORITY).unwrap();
    delivery_to(Target::Credd(CreddTarget {
        host: host.to_owned(),
        collector,
        way: Way::Cedar {
            authorities: TlsSettings {
                ca_file: Some(file),
                ca_dir: None,
            },
        },
        authentication: Authentication::default(),
    }))
}

fn transports() -> Transports<Outside> {
    Transports::new(Outside::new().sessions(Store::default()))
}

/// The problem that a query has.
async fn problem(delivery: &Delivery) -> Problem {
    transports().observe(delivery).await.unwrap_err()
}

#[tokio::test]
async fn a_credd_that_hangs_up_is_tried_twice_and_is_down_for_everybody() {
    let folder = tempfile::tempdir().unwrap();
    let (address, count) = rude().await;
    let delivery = delivery(&format!("<{address}?alias=ap.test>"), None, &folder);
    let problem = problem(&delivery).await;
    assert_eq!(count.load(Ordering::SeqCst), 2);
    assert_eq!(problem.kind, Kind::CreddDown);
    assert!(matches!(problem.cause, Cause::Credd(_)), "{problem:?}");
    assert_eq!(problem.step, Some(Step::Negotiate));
    let message = problem.message;
    assert!(message.starts_with("ap.test at 127.0.0.1:"), "{message}");
    assert!(message.ends_with("it is tried again"), "{message}");
    assert!(!message.contains("secret"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_credd_that_says_nothing_is_down_within_the_deadline_and_not_asked_twice() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let delivery = delivery(&format!("<{address}?alias=ap.test>"), None, &folder);
    let begun = Instant::now();
    let problem = problem(&delivery).await;
    assert!(begun.elapsed() <= DEADLINE, "{:?}", begun.elapsed());
    assert_eq!(problem.kind, Kind::CreddDown);
    assert!(
        problem.message.contains("no answer in time"),
        "{}",
        problem.message
    );
    let (_first, _) = listener.accept().await.unwrap();
    let second = tokio::time::timeout(DEADLINE, listener.accept()).await;
    assert!(second.is_err(), "one connection");
}

#[tokio::test]
async fn a_host_where_nobody_listens_is_down() {
    let folder = tempfile::tempdir().unwrap();
    let delivery = delivery("<127.0.0.1:1?alias=ap.test>", None, &folder);
    let top = SecretString::from("{\"vault_token\": \"hvs.secret\"}");
    let problem = transports().store(&delivery, &top).await.unwrap_err();
    assert_eq!(problem.kind, Kind::CreddDown);
    assert_eq!(problem.step, Some(Step::Connect));
    assert!(!problem.message.contains("hvs"), "{}", problem.message);
}

#[tokio::test]
async fn a_collector_that_hangs_up_leaves_the_address_unknown_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (address, _) = rude().await;
    let delivery = delivery("ap.test", Some(address.to_string()), &folder);
    let problem = problem(&delivery).await;
    assert_eq!(problem.kind, Kind::CreddDown);
    assert_eq!(problem.step, Some(Step::Prepare));
    let words =
        format!("the credd of ap.test is not known: the collector {address} does not answer");
    assert!(problem.message.contains(&words), "{}", problem.message);
}

#[tokio::test]
async fn a_collector_that_cannot_be_asked_from_here_says_nothing_of_the_credd() {
    let folder = tempfile::tempdir().unwrap();
    let delivery = delivery("ap.test", None, &folder);
    let problem = problem(&delivery).await;
    assert_eq!(problem.kind, Kind::Transport, "{}", problem.message);
    assert_eq!(problem.step, Some(Step::Prepare));
}

#[tokio::test]
async fn an_address_that_is_none_is_told_as_that() {
    let folder = tempfile::tempdir().unwrap();
    let problem = problem(&delivery("<", None, &folder)).await;
    assert_eq!(problem.kind, Kind::Transport, "{}", problem.message);
    assert_eq!(problem.step, Some(Step::Prepare));
}

#[tokio::test]
async fn authorities_that_cannot_be_read_are_a_fault_of_this_host() {
    let folder = tempfile::tempdir().unwrap();
    let delivery = delivery("<127.0.0.1:1>", None, &folder);
    std::fs::remove_file(folder.path().join("ca.pem")).unwrap();
    let problem = problem(&delivery).await;
    assert_eq!(problem.kind, Kind::Transport);
    assert!(problem.message.contains("ca.pem"), "{}", problem.message);
}

#[test]
fn a_certificate_must_be_for_the_name_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let other = "<10.0.0.9:9618?alias=evil.test&sock=a>";
    for (host, name) in [
        ("ap.test", "ap.test"),
        ("two@ap.test", "ap.test"),
        ("<10.0.0.1:9618?sock=a>", "10.0.0.1"),
        ("<10.0.0.1:9618?alias=ap.test&sock=a>", "ap.test"),
    ] {
        let delivery = delivery(host, None, &folder);
        let request = CreddRequest::of(&delivery, Operation::Query);
        // The address of a name is a collector's; that of an address is the configuration itself.
        let address = if host.starts_with('<') { host } else { other };
        assert_eq!(request.name(address), name);
    }
}

#[test]
fn what_may_be_another_daemons_is_tried_again_and_a_wrong_certificate_elsewhere_only() {
    for (kind, step, expected) in [
        (ErrorKind::BadAnswer, Step::Negotiate, Again::Anywhere),
        (ErrorKind::BadAnswer, Step::Command, Again::Nowhere),
        (ErrorKind::HungUp, Step::Command, Again::Anywhere),
        (ErrorKind::TimedOut, Step::Connect, Again::Anywhere),
        (ErrorKind::TimedOut, Step::Command, Again::Nowhere),
        (ErrorKind::Local, Step::Connect, Again::Nowhere),
        (ErrorKind::WrongName, Step::Tls, Again::Elsewhere),
        (ErrorKind::NoTls, Step::Tls, Again::Elsewhere),
    ] {
        assert_eq!(again(kind, step), expected, "{kind:?} {step}");
    }
}

#[test]
fn the_users_name_in_an_answer_says_whether_it_is_for_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let delivery = delivery("ap.test", None, &folder);
    let is_for_other = |operation, user: &str| {
        let answer = Ok(Done {
            outcome: None,
            user: user.to_owned(),
            version: String::new(),
            resumed: true,
        });
        CreddRequest::of(&delivery, operation).is_for_other(&answer)
    };
    assert!(is_for_other(Operation::Query, "crabtw@ap.test"));
    assert!(!is_for_other(Operation::Query, "cmsprod@ap.test"));
    // What was done for somebody else is not done again: that user may do so.
    assert!(!is_for_other(Operation::Delete, "condor@ap.test"));
}
