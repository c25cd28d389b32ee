//! The real parts themselves, without a Vault: a KDC that gives tickets, and a pool that takes
//! credentials and runs jobs.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use integration::kdc::Kdc;
use integration::sandbox;

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
