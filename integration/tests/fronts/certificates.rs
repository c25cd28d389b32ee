//! Certificates of Vault that clients with OpenSSL accept: served where that can be, else explained in words.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bastion::model::problem::{Kind, Remedy};
use integration::ca::Issued;
use integration::hostile::{Front, Handling};
use integration::process::Daemon;
use integration::{ended, wait};
use tokio::process::Command;

use crate::{BEHIND_URL, FAR, FRONT, Site, only};

/// Files of one certificate, made by `openssl`.
struct Made {
    certificate: PathBuf,
    key: PathBuf,
}

async fn openssl(arguments: &[&str]) {
    let mut command = Command::new("openssl");
    command.args(arguments);
    let output = ended::output(command, FAR).await.unwrap();
    assert!(output.status.success(), "{}", ended::text(&output));
}

/// A certificate for `vault.test`, as `openssl req -x509` makes it.
async fn certificate(folder: &Path, name: &str, subject: &str, options: &[&str]) -> Made {
    let certificate = folder.join(format!("{name}.crt"));
    let key = folder.join(format!("{name}.key"));
    let fixed = [
        "req",
        "-x509",
        "-nodes",
        "-days",
        "30",
        "-subj",
        subject,
        "-addext",
        "subjectAltName=DNS:vault.test",
        "-out",
        certificate.to_str().unwrap(),
        "-keyout",
        key.to_str().unwrap(),
    ];
    openssl(&[&fixed, options].concat()).await;
    Made { certificate, key }
}

/// A self-signed one: an authority's.
async fn self_signed(folder: &Path, name: &str, options: &[&str]) -> Made {
    certificate(folder, name, "/CN=vault.test", options).await
}

/// A server's one with a usual key, signed by another one.
async fn signed_by(ca: &Made, folder: &Path, name: &str, options: &[&str]) -> Made {
    let of_server = [
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-CA",
        ca.certificate.to_str().unwrap(),
        "-CAkey",
        ca.key.to_str().unwrap(),
    ];
    certificate(
        folder,
        name,
        "/CN=a server",
        &[&of_server, options].concat(),
    )
    .await
}

impl Site {
    /// Has the bastion trust this file alone.
    fn trust(&self, file: &Path) {
        let chain = &self.here.chain;
        let named = |file: &Path| format!("ca_file: {}", file.display());
        let yaml = self
            .here
            .yaml()
            .replace(&named(&chain.ca.file()), &named(file));
        chain.write_bastion_config(&yaml).unwrap();
    }

    async fn front_with(&self, certificate: &Made) -> Front {
        let issued = Issued {
            certificate: certificate.certificate.clone(),
            key: certificate.key.clone(),
        };
        let addresses = [FRONT[0].parse().unwrap()];
        let trusted = self.here.chain.ca.file();
        let pass = |_: &str| Handling::Pass;
        let front = Front::with_certificate(&issued, &trusted, &addresses, BEHIND_URL, pass);
        front.await.unwrap()
    }

    /// What `once` says of a server whose certificate cannot be verified.
    async fn refusal(&self) -> String {
        let (report, _) = self.once().await;
        let group = only(&report);
        let text = group.message.clone();
        assert_eq!(group.deliveries, 3, "{text}");
        assert_eq!(group.kind, Kind::VaultUntrusted, "{text}");
        assert_eq!(group.remedy, Remedy::FixThisHost, "{text}");
        for library in [
            "Other",
            "InvalidCertificate",
            "Unsupported",
            "eof",
            "[48",
            "AlertReceived",
        ] {
            assert!(!text.contains(library), "{library}: {text}");
        }
        text
    }
}

#[tokio::test]
async fn an_authoritys_certificate_is_served_where_it_is_trusted_itself() {
    let site = Site::start().await;
    let folder = site.here.folder();
    let usual = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let own = self_signed(folder, "own", &usual).await;
    let _front = site.front_with(&own).await;
    site.trust(&own.certificate);
    // The credmon trusts the test's authority alone: so it is the bastion's part that is looked at.
    let doctor = site.run(&["doctor", "--account", "crabtw"]).await;
    let text = ended::text(&doctor);
    for step in ["address ", "login cms_crab", "access token cms_crab"] {
        let line = text.lines().find(|line| line.contains(step)).unwrap();
        assert!(line.starts_with("  ok"), "{text}");
    }
    // Another one of the same name is not the one that is trusted.
    let other = self_signed(folder, "other", &usual).await;
    site.trust(&other.certificate);
    let text = site.refusal().await;
    assert!(text.contains("is that of an authority (CA:TRUE)"), "{text}");
    assert!(text.contains("add it to the CA file"), "{text}");
}

#[tokio::test]
async fn certificates_that_cannot_be_verified_are_explained_in_words() {
    let site = Site::start().await;
    let folder = site.here.folder();
    // A server's key on the curve P-521.
    let p521 = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"];
    let large = self_signed(folder, "p521", &p521).await;
    site.trust(&large.certificate);
    let mut server = Command::new("openssl");
    server
        .args(["s_server", "-accept", FRONT[0], "-www", "-cert"])
        .arg(&large.certificate)
        .arg("-key")
        .arg(&large.key);
    let mut server = Daemon::spawn("openssl", server, &folder.join("openssl.log")).unwrap();
    wait::until("openssl to listen", FAR, async || {
        tokio::net::TcpStream::connect(FRONT[0]).await.map(drop)
    })
    .await
    .unwrap();
    let text = site.refusal().await;
    assert!(
        text.contains("no TLS cipher or signature that both sides know"),
        "{text}"
    );
    assert!(text.contains("P-521"), "{text}");
    assert!(
        text.contains("have P-256, P-384 or RSA certificates issued"),
        "{text}"
    );
    server.stop().await.unwrap();

    // A usual key, signed by an authority on that curve, or by RSA-PSS with the longest salt, which OpenSSL takes
    // where nothing is said.
    let rsa = ["-newkey", "rsa:2048"];
    let pss = [
        "-sigopt",
        "rsa_padding_mode:pss",
        "-sigopt",
        "rsa_pss_saltlen:max",
        "-sha256",
    ];
    let authority = self_signed(folder, "rsa", &rsa).await;
    for (ca, options, words, advice) in [
        (
            &large,
            [].as_slice(),
            "ECDSA P-521",
            "have P-256, P-384 or RSA certificates issued",
        ),
        (
            &authority,
            pss.as_slice(),
            "RSA-PSS with unusual parameters",
            "a salt as long as the digest",
        ),
    ] {
        let leaf = signed_by(ca, folder, "leaf", options).await;
        let front = site.front_with(&leaf).await;
        site.trust(&ca.certificate);
        let text = site.refusal().await;
        assert!(text.contains(words) && text.contains(advice), "{text}");
        drop(front);
        wait::pass(Duration::from_millis(200)).await;
    }
}
