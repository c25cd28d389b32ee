//! Files with authorities: read, skipped, named in errors.

use super::*;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

fn with_file(file: PathBuf) -> TlsSettings {
    TlsSettings {
        ca_file: Some(file),
        ca_dir: None,
    }
}

fn refused(settings: &TlsSettings) -> String {
    Authorities::read(settings).unwrap_err().to_string()
}

/// A self-signed authority that is valid until the end of a year.
fn authority(last_year: i32) -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(last_year, 12, 31);
    params
        .self_signed(&KeyPair::generate().unwrap())
        .unwrap()
        .pem()
}

#[test]
fn a_missing_or_empty_ca_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none.pem");
    let text = refused(&with_file(missing.clone()));
    assert!(text.contains(&missing.display().to_string()), "{text}");

    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "nothing here").unwrap();
    let text = refused(&with_file(empty));
    assert!(text.contains("holds no usable certificate"), "{text}");
}

#[test]
fn an_expired_authority_of_a_bundle_is_not_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("bundle.pem");
    std::fs::write(&bundle, authority(2001) + &authority(2090)).unwrap();
    let settings = with_file(bundle.clone());
    assert_eq!(settings.trusted(SystemClock.now()).unwrap().roots.len(), 1);
    std::fs::write(&bundle, authority(2001)).unwrap();
    let text = refused(&settings);
    let words = "it holds no usable certificate; expired by this host's clock: 1; replace it";
    assert!(text.contains(words), "{text}");
    // Those of the system as well: all are over in a thousand years.
    let far: Timestamp = "3026-12-01T00:00:00Z".parse().unwrap();
    let text = TlsSettings::default().trusted(far).err().unwrap();
    let words = "no certificate authority found (the system's authorities";
    assert!(text.to_string().contains(words), "{text}");
}

#[test]
fn an_authority_is_trusted_until_it_expires_whatever_the_clock_says_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("bundle.pem");
    std::fs::write(
        &bundle,
        authority(2001) + &authority(2060) + &authority(2090),
    )
    .unwrap();
    let settings = with_file(bundle);
    let [now, later, too_late]: [Timestamp; 3] = [
        "2026-12-01T00:00:00Z",
        "2061-01-01T00:00:00Z",
        "2091-01-01T00:00:00Z",
    ]
    .map(|time| time.parse().unwrap());
    let both = Authorities::read_at(&settings, now).unwrap();
    assert!(both.are_those_at(&settings, now));
    assert!(!both.are_those_at(&settings, later), "one has expired");
    let one = Authorities::read_at(&settings, later).unwrap();
    assert!(one.are_those_at(&settings, later), "the other has not");
    assert!(
        !one.are_those_at(&settings, now),
        "the clock is right again"
    );
    assert!(!one.are_those_at(&settings, too_late));
}

#[test]
fn a_directory_is_read_but_for_what_is_unreadable_expired_or_no_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("bundle.pem");
    std::fs::write(&bundle, authority(2090)).unwrap();
    let ca_dir = dir.path().join("certificates");
    std::fs::create_dir(&ca_dir).unwrap();
    for (name, content) in [
        ("1a2b3c4d.0", authority(2091)),
        ("named.pem", authority(2092)),
        ("old.pem", authority(2001)),
        (
            "broken.0",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
        ),
        ("1a2b3c4d.r0", "a revocation list".to_owned()),
        ("notes.txt", authority(2093)),
    ] {
        std::fs::write(ca_dir.join(name), content).unwrap();
    }
    std::os::unix::fs::symlink("nowhere", ca_dir.join("dangling.0")).unwrap();
    std::os::unix::fs::symlink("loop.0", ca_dir.join("loop.0")).unwrap();
    std::fs::create_dir(ca_dir.join("folder.0")).unwrap();
    let settings = TlsSettings {
        ca_file: Some(bundle),
        ca_dir: Some(ca_dir),
    };
    assert_eq!(settings.trusted(SystemClock.now()).unwrap().roots.len(), 3);
}

#[test]
fn a_directory_that_cannot_be_listed_is_an_error_and_one_that_is_missing_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("bundle.pem");
    std::fs::write(&bundle, authority(2090)).unwrap();
    let ca_dir = dir.path().join("certificates");
    let settings = TlsSettings {
        ca_file: Some(bundle),
        ca_dir: Some(ca_dir.clone()),
    };
    assert_eq!(settings.trusted(SystemClock.now()).unwrap().roots.len(), 1);
    let before = settings.fingerprint();
    std::fs::write(&ca_dir, "no directory").unwrap();
    let error = refused(&settings);
    assert!(error.contains("certificates cannot be read: "), "{error}");
    assert_ne!(settings.fingerprint(), before, "it is looked at again");
}

#[test]
fn a_file_that_the_disk_does_not_give_leaves_the_others_and_is_said_to_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("good.pem"), authority(2090)).unwrap();
    // A plain file whose reading fails with EIO.
    std::os::unix::fs::symlink("/proc/self/mem", dir.path().join("bad.pem")).unwrap();
    let settings = TlsSettings {
        ca_file: Some(dir.path().join("good.pem")),
        ca_dir: Some(dir.path().to_owned()),
    };
    let read = Authorities::read(&settings).unwrap();
    let unread = read.unread().unwrap();
    assert!(unread.contains("bad.pem cannot be read: "), "{unread}");
    let again = read.read_again(&settings).err().unwrap().to_string();
    assert!(again.contains(unread), "it is tried again: {again}");
    std::fs::remove_file(dir.path().join("bad.pem")).unwrap();
    let whole = read.read_again(&settings).unwrap().unwrap();
    assert_eq!(whole.unread(), None);
    assert!(whole.read_again(&settings).unwrap().is_none());
}

#[test]
fn what_this_host_does_not_give_is_not_said_to_be_configured_wrong() {
    // A plain file whose reading fails with EIO.
    let error = Authorities::read(&with_file("/proc/self/mem".into())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LocalResource);
    let words = "CA file /proc/self/mem cannot be used: ";
    assert!(error.message().starts_with(words), "{error}");
    assert!(error.advice().starts_with("see to the disk"), "{error}");
    let missing = Authorities::read(&with_file("/missing.pem".into())).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Configuration);
    // No descriptor is free.
    let short = unreadable("CA directory", "", std::io::Error::from_raw_os_error(24));
    assert_eq!(short.kind(), ErrorKind::LocalResource);
}

#[test]
fn a_change_of_any_file_changes_the_fingerprint() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("bundle.pem");
    std::fs::write(&bundle, authority(2090)).unwrap();
    let settings = TlsSettings {
        ca_file: Some(bundle.clone()),
        ca_dir: Some(dir.path().to_owned()),
    };
    let before = settings.fingerprint();
    assert_eq!(settings.fingerprint(), before);
    std::fs::write(dir.path().join("new.0"), authority(2091)).unwrap();
    let added = settings.fingerprint();
    assert_ne!(added, before);
    std::fs::write(&bundle, "another length").unwrap();
    assert_ne!(settings.fingerprint(), added);
}

#[test]
fn only_certificate_names_are_read_in_a_directory() {
    for (name, is) in [
        ("1a2b3c4d.0", true),
        ("x.pem", true),
        ("x.crt", true),
        ("1a2b3c4d.r0", false),
        ("x.signing_policy", false),
        ("README", false),
    ] {
        assert_eq!(holds_certificate(Path::new(name)), is, "{name}");
    }
}
