//! A running bastion and its KDCs: one that is silent harms its own realm alone and holds nothing
//! up, and a keytab that is replaced on disk is used without a restart. Needs the sandbox.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod lies;

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::path::Path;
use std::time::Duration;

use bastion::engine::report::{Group, Report};
use bastion::model::problem::{Cause, Kind};
use bastion::policy::plan::State;
use integration::chain::Lives;
use integration::here::Here;
use integration::process::Daemon;
use integration::wait::FAR;
use integration::{ended, wait};

/// Accounts of the realm whose KDC is silent: more than there may be threads.
const SILENT: usize = 24;
/// Threads of the process: 64 that wait for files and KDCs, two of the runtime, the first one.
const THREADS: usize = 67;
/// Threads that wait for the KDCs of one realm.
const THREADS_OF_REALM: usize = 4;

/// One chain at a time: its servers have fixed addresses.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

struct Host {
    here: Here,
    _one: tokio::sync::MutexGuard<'static, ()>,
}

impl Host {
    async fn new() -> Self {
        let one = ONE.lock().await;
        Self {
            here: Here::start(Lives::CALM).await.unwrap(),
            _one: one,
        }
    }

    /// What the service says, as soon as that is so.
    async fn status(
        &self,
        config: &Path,
        arguments: &[&str],
        what: &str,
        mut is_so: impl FnMut(&Report) -> bool,
    ) -> Report {
        wait::until(what, FAR, async || {
            let mut command = self.here.chain.bastion(config).unwrap();
            command.args(arguments).arg("--json");
            let output = ended::output(command, FAR).await;
            let output = output.map_err(|error| format!("{error:#}"))?;
            let report: Report = serde_json::from_slice(&output.stdout)
                .map_err(|e| format!("{e}: {}", String::from_utf8_lossy(&output.stderr)))?;
            if is_so(&report) {
                Ok(report)
            } else {
                Err(format!("{:?}", report.problems))
            }
        })
        .await
        .unwrap()
    }
}

/// How many threads a process has.
fn threads(of: &Daemon) -> usize {
    fs::read_dir(format!("/proc/{}/task", of.pid()))
        .unwrap()
        .count()
}

/// How many questions to an address of UDP are under way, of all processes in the sandbox: a thread
/// of libkrb5 that asks has a connected socket.
fn questions(to: SocketAddrV4) -> usize {
    let octets = to.ip().octets();
    // As the kernel writes it: the address as a number of this machine, in hexadecimal.
    let remote = format!("{:08X}:{:04X}", u32::from_ne_bytes(octets), to.port());
    let sockets = fs::read_to_string("/proc/net/udp").unwrap();
    let remotes = sockets
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2));
    remotes.filter(|address| *address == remote).count()
}

#[tokio::test]
async fn a_silent_kdc_harms_its_own_realm_alone() {
    let host = Host::new().await;
    let chain = &host.here.chain;
    // It takes packets and connections, and never says a word.
    let tcp = TcpListener::bind("127.83.0.21:0").unwrap();
    let SocketAddr::V4(address) = tcp.local_addr().unwrap() else {
        panic!("an address of IPv4 was bound");
    };
    let _udp = UdpSocket::bind(address).unwrap();
    let krb5 = chain.kdc.krb5_conf();
    let text = fs::read_to_string(&krb5).unwrap();
    let two = format!("[realms]\n    SILENT = {{\n        kdc = {address}\n    }}\n");
    fs::write(&krb5, text.replacen("[realms]\n", &two, 1)).unwrap();

    let mut yaml = host.here.yaml();
    for n in 0..SILENT {
        let keytab = chain.keytabs().join(format!("s{n}.keytab"));
        let principal = format!("s{n}@SILENT");
        let added = chain.kdc.add_principal_with_keytab(&principal, &keytab);
        added.await.unwrap();
        // Writing to a string cannot fail.
        let _ = write!(
            yaml,
            "  s{n}:\n    principal: {principal}\n    schedds: [here]\n    credentials: {{cms: {{}}}}\n"
        );
    }
    let config = chain.write_bastion_config(&yaml).unwrap();
    let mut bastion = chain.service(&config).unwrap();

    let silent = |report: &Report| {
        let of_realm = |group: &&Group| {
            group.cause == Cause::Realm("SILENT".to_owned()) && group.kind == Kind::KdcDown
        };
        report.problems.iter().find(of_realm).cloned()
    };
    let mut most = 0;
    let report = host
        .status(
            &config,
            &["status"],
            "every silent account told",
            |report| {
                let (all, asking) = (threads(&bastion), questions(address));
                most = most.max(asking);
                assert!(all <= THREADS, "{all} threads");
                assert!(asking <= THREADS_OF_REALM, "{asking} threads ask");
                let others = report.is_good_for("cmsprod") && report.is_good_for("crabtw");
                others && silent(report).is_some_and(|group| group.deliveries == SILENT)
            },
        )
        .await;
    assert_ne!(most, 0, "somebody asked");
    // The bound is the bastion's own: libkrb5 alone goes on for longer.
    let told = silent(&report).unwrap().message;
    assert!(
        told.contains("no answer from the KDC within 20 s"),
        "{told}"
    );
    assert!(told.contains("@SILENT failed"), "{told}");
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    let (hurt, well): (Vec<_>, Vec<_>) = report
        .deliveries
        .iter()
        .partition(|line| line.wanted.account.starts_with('s'));
    assert_eq!((hurt.len(), well.len()), (SILENT, 3));
    assert!(hurt.iter().all(|line| line.state == State::Failed));
    assert!(well.iter().all(|line| line.state == State::Good));

    // It is told to stop while a thread waits for the silent KDC; none of that holds it up.
    wait::until("a question to the silent KDC", FAR, async || {
        (questions(address) != 0).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(bastion.stop().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_keytab_that_is_replaced_is_used_without_a_restart() {
    let host = Host::new().await;
    let chain = &host.here.chain;
    let kdc = &chain.kdc;
    let yaml = host.here.yaml();
    let config = chain.write_bastion_config(&yaml).unwrap();
    kdc.admin("cpw -randkey cmsprod").await.unwrap();
    let mut bastion = chain.service(&config).unwrap();

    let keytab = chain.keytabs().join("cmsprod.keytab");
    let cause = Cause::Account("cmsprod".to_owned());
    let report = host
        .status(&config, &["status"], "the old key refused", |report| {
            let both = |group: &Group| group.cause == cause && group.deliveries == 2;
            // Long before the next try, so that it is not that which finds the new key.
            let mut next = report.deliveries.iter().filter_map(|line| line.next_try);
            let is_far = next.all(|next| next.duration_since(report.at).as_secs() > 10);
            report.is_good_for("crabtw") && is_far && report.problems.iter().any(both)
        })
        .await;
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    let problem = &report.problems[0];
    assert_eq!((problem.kind, problem.deliveries), (Kind::Keytab, 2));
    for part in [
        "cmsprod@TEST",
        &format!("(keytab {})", keytab.display()),
        "the KDC has a newer key: fetch the keytab again",
    ] {
        assert!(problem.message.contains(part), "{}", problem.message);
    }

    // As an admin does it: a new file takes the old one's name.
    let new = keytab.with_extension("new");
    let replaced = kdc.add_principal_with_keytab("cmsprod@TEST", &new);
    replaced.await.unwrap();
    fs::rename(&new, &keytab).unwrap();
    bastion
        .wait_for_line("the keytab was replaced", FAR)
        .await
        .unwrap();
    host.status(&config, &["status"], "the new key taken", Report::is_good)
        .await;

    // The same under way: nothing fails when the new key is there before the next login.
    kdc.admin("cpw -randkey cmsprod").await.unwrap();
    kdc.add_principal_with_keytab("cmsprod@TEST", &new)
        .await
        .unwrap();
    fs::rename(&new, &keytab).unwrap();
    let mark = bastion.mark();
    let arguments = ["push", "--account", "cmsprod"];
    let pushed = host
        .status(&config, &arguments, "a push by the newest key", |_| true)
        .await;
    assert!(
        pushed.is_good(),
        "{:?}\n{}",
        pushed.problems,
        bastion.tail(15)
    );
    assert!(
        bastion
            .lines_after(mark)
            .0
            .iter()
            .all(|line| !line.contains("keytab"))
    );
    assert_eq!(bastion.stop().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_stale_keytab_locks_no_principal() {
    let host = Host::new().await;
    let chain = &host.here.chain;
    let kdc = &chain.kdc;
    // As a directory with lockout does it.
    for query in [
        "addpol -maxfailure 5 lockout",
        "modprinc +requires_preauth -policy lockout crabtw",
        "cpw -randkey crabtw",
    ] {
        kdc.admin(query).await.unwrap();
    }
    let mut services = String::new();
    for n in 0..12 {
        // Writing to a string cannot fail.
        let _ = writeln!(services, "      cms_r{n}: {{}}");
    }
    let yaml = host.here.yaml();
    let yaml = yaml.replace("      cms_crab: {}\n", &services);
    let config = chain.write_bastion_config(&yaml).unwrap();
    let failures = async || {
        let told = kdc.admin("getprinc crabtw").await.unwrap();
        let (_, rest) = told.split_once("Failed password attempts: ").unwrap();
        rest.lines().next().unwrap().trim().parse::<u32>().unwrap()
    };
    let is_told = |report: &Report| {
        let of_all = |group: &Group| group.kind == Kind::Keytab && group.deliveries == 12;
        report.problems.len() == 1 && of_all(&report.problems[0])
    };
    let mut bastion = chain.service(&config).unwrap();
    host.status(&config, &["status"], "the old key refused", is_told)
        .await;
    wait::pass(Duration::from_secs(10)).await;
    assert_eq!(failures().await, 1, "one attempt finds out for all");
    // Each order of a person is one more.
    for (command, most) in [("push", 2), ("retry", 3)] {
        let report = host.status(&config, &[command], command, is_told).await;
        let message = &report.problems[0].message;
        assert!(message.contains("the KDC has a newer key"), "{message}");
        let failures = failures().await;
        println!("{failures} after {command}");
        assert!(failures <= most, "{command}: {failures}");
    }
    // An examination asks for each credential, and is one more.
    let mut doctor = chain.bastion(&config).unwrap();
    doctor.args(["doctor", "--account", "crabtw"]);
    let output = ended::output(doctor, FAR).await.unwrap();
    let failures = failures().await;
    assert!(failures <= 4, "{failures} {}", ended::text(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("the KDC has a newer key"), "{text}");
    assert!(!text.contains("unlock"), "{text}");
    assert_eq!(bastion.stop().await.unwrap().code(), Some(0));
}
