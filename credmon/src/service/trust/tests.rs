//! Certificate authorities that cannot be read.

use std::time::Duration;

use super::*;

/// A self-signed authority.
const AUTHORITY: &str = "\
-----BEGIN CERTIFICATE-----
MIIBdjCCARugAwIBAgIUbzY+cBft4NTGHJvm2zt0ls9nrUkwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMzAxMDIxMTVaGA8yMTI2MTEwNjEwMjEx
NVowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABLbQ
n0sXXGXC2FNuRBgf/4fyHC9F2S7CMoK3bM1xSnkFhrtPGAQAk5bgzJKHYHccoYal
sYyNj6ma+/RPT+p4v3ujUzBRMB0GA1UdDgQWBBTS/+CR4Pi7ptdyGffq+6r6k2Pa
BzAfBgNVHSMEGDAWgBTS/+CR4Pi7ptdyGffq+6r6k2PaBzAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0kAMEYCIQC7kzBjuyLszgu+Qi4jcgpirda3XMjcUCiS
uTC9PiiK7QIhAMpijSM4jZc+dyPu/st/ARdXuTK/zodxtYYy3xDL2j2G
-----END CERTIFICATE-----
";

/// Reads them at a start.
async fn read(tls: &TlsSettings) -> Trust {
    let mut trust = Trust::new(tls.clone());
    trust.read().await;
    trust
}

/// Checks the files once, and takes in what came of it.
async fn follow(trust: &mut Trust) -> bool {
    trust.reading = None;
    assert!(!trust.follow());
    while trust.reading.as_ref().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    trust.follow()
}

#[tokio::test]
async fn authorities_that_cannot_be_read_any_more_stay_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let of = |name: &str| TlsSettings {
        ca_file: Some(dir.path().join(name)),
        ca_dir: None,
    };
    let (tls, aside) = (of("ca.pem"), dir.path().join("aside"));
    let file = tls.ca_file.clone().unwrap();
    std::fs::write(&file, AUTHORITY).unwrap();
    let mut trust = read(&tls).await;
    assert_eq!(trust.problem, None);
    assert!(!follow(&mut trust).await);

    // The file is gone for a moment.
    std::fs::rename(&file, &aside).unwrap();
    assert!(follow(&mut trust).await);
    assert!(!follow(&mut trust).await, "it is known");
    let problem = trust.problem.clone().unwrap();
    assert!(problem.ends_with("; those in force stay"), "{problem}");
    std::fs::rename(&aside, &file).unwrap();
    assert!(trust.authorities.as_ref().unwrap().are_those_of(&tls));
    assert!(follow(&mut trust).await);
    assert_eq!(trust.problem, None);

    // A new configuration names a file that is of no use, then a good one.
    std::fs::write(dir.path().join("empty.pem"), "").unwrap();
    for name in ["missing.pem", "empty.pem"] {
        trust.tls = of(name);
        assert!(follow(&mut trust).await);
        assert!(trust.authorities.as_ref().unwrap().are_those_of(&tls));
    }
    std::fs::write(dir.path().join("other.pem"), AUTHORITY).unwrap();
    trust.tls = of("other.pem");
    assert!(follow(&mut trust).await);
    assert_eq!(trust.problem, None);
}

#[tokio::test]
async fn those_of_a_directory_that_is_gone_or_empty_stay_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let (ca_dir, aside) = (dir.path().join("certificates"), dir.path().join("aside"));
    let tls = TlsSettings {
        ca_file: Some(dir.path().join("ca.pem")),
        ca_dir: Some(ca_dir.clone()),
    };
    std::fs::write(dir.path().join("ca.pem"), AUTHORITY).unwrap();
    std::fs::create_dir(&ca_dir).unwrap();
    std::fs::write(ca_dir.join("1a2b3c4d.0"), AUTHORITY).unwrap();
    let mut trust = read(&tls).await;
    std::fs::rename(&ca_dir, &aside).unwrap();
    assert!(follow(&mut trust).await);
    let problem = trust.problem.clone().unwrap();
    assert!(problem.ends_with("is gone or empty; those in force stay"));
    // The folder below a mount.
    std::fs::create_dir(&ca_dir).unwrap();
    assert!(!follow(&mut trust).await);
    std::fs::remove_dir(&ca_dir).unwrap();
    std::fs::rename(&aside, &ca_dir).unwrap();
    assert!(trust.authorities.as_ref().unwrap().are_those_of(&tls));
    assert!(follow(&mut trust).await);
    assert_eq!(trust.problem, None);

    // It is gone for good: what else is configured counts.
    std::fs::remove_dir_all(&ca_dir).unwrap();
    assert!(follow(&mut trust).await);
    trust.gone_since = Instant::now().checked_sub(COMES_BACK);
    assert!(follow(&mut trust).await);
    assert_eq!(trust.problem, None);
}

#[tokio::test]
async fn a_directory_that_is_gone_keeps_no_other_configuration_out_of_force() {
    let dir = tempfile::tempdir().unwrap();
    let ca_dir = dir.path().join("certificates");
    let of = |name: &str| TlsSettings {
        ca_file: Some(dir.path().join(name)),
        ca_dir: Some(ca_dir.clone()),
    };
    for name in ["ca.pem", "other.pem"] {
        std::fs::write(dir.path().join(name), AUTHORITY).unwrap();
    }
    std::fs::create_dir(&ca_dir).unwrap();
    std::fs::write(ca_dir.join("1a2b3c4d.0"), AUTHORITY).unwrap();
    let tls = of("ca.pem");
    let mut trust = read(&tls).await;
    std::fs::remove_dir_all(&ca_dir).unwrap();
    assert!(follow(&mut trust).await);
    trust.tls = of("other.pem");
    assert!(follow(&mut trust).await);
    assert_eq!(trust.problem, None);
}

#[tokio::test]
async fn a_directory_that_cannot_be_read_at_a_start_leaves_the_configured_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, AUTHORITY).unwrap();
    // No directory is there.
    let tls = TlsSettings {
        ca_file: Some(file.clone()),
        ca_dir: Some(file),
    };
    let read = read(&tls).await;
    let problem = read.problem.clone().unwrap();
    assert!(
        problem.ends_with("those of the configured file alone are used"),
        "{problem}"
    );
    let of_file = TlsSettings {
        ca_dir: None,
        ..tls
    };
    assert!(read.authorities.unwrap().are_those_of(&of_file));
}

#[tokio::test]
async fn the_systems_authorities_are_used_only_when_there_are_none_at_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let tls = TlsSettings {
        ca_file: Some(dir.path().join("ca.pem")),
        ca_dir: None,
    };
    let mut trust = read(&tls).await;
    let authorities = trust.authorities.clone();
    let problem = trust.problem.clone().unwrap();
    assert!(problem.contains("the system's"), "{problem}");
    if authorities.is_some() {
        assert!(!follow(&mut trust).await);
        assert_eq!(trust.problem, Some(problem));
    }
    std::fs::write(dir.path().join("ca.pem"), AUTHORITY).unwrap();
    assert!(follow(&mut trust).await);
    assert_eq!(trust.problem, None);
    assert!(trust.authorities.unwrap().are_those_of(&tls));
}
