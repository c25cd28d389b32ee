//! KDCs that answer, and not as KDCs do: each harms its own realm alone, is waited for, and cannot write into a terminal.

use std::fmt::Write as _;
use std::fs;

use bastion::model::problem::{Cause, Kind, Remedy};
use bastion::policy::plan::State;
use integration::hostile::kdc::{LyingKdc, error_message};

use crate::Host;

/// Text of an error message: too long, with what terminals obey.
fn hostile_text() -> String {
    format!(
        "the database is\r\n\u{1b}[31m locked\u{202e}{}",
        "x".repeat(20_000)
    )
}

/// Answer of a KDC of a realm, and words of the message.
fn lies(realm: &str) -> Vec<(Vec<u8>, &'static str)> {
    let cut = |number| {
        let mut message = error_message(realm, number, "cut");
        message.truncate(message.len() / 2);
        message
    };
    vec![
        (
            error_message(realm, 60, &hostile_text()),
            "the KDC says: the database is \\u{1b}[31m locked",
        ),
        (error_message(realm, 60, ""), "see e-text"),
        (error_message(realm, 29, "the database is locked"), ""),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), ""),
        (cut(60), ""),
        // An answer (AS-REP) in its tag alone.
        (vec![0x6b, 0x03, 0x30, 0x01, 0x00], ""),
        (vec![0; 3], ""),
        (Vec::new(), ""),
    ]
}

#[tokio::test]
async fn kdcs_that_answer_nonsense_are_waited_for_and_harm_their_own_realms_alone() {
    let host = Host::new().await;
    let chain = &host.here.chain;
    let mut realms = String::new();
    let mut yaml = host.here.yaml();
    let mut kdcs = Vec::new();
    for (n, (answer, _)) in lies("LIES").into_iter().enumerate() {
        let kdc = LyingKdc::start("127.83.0.21", answer).await.unwrap();
        // Writing to a string cannot fail.
        let _ = write!(
            realms,
            "    LIES{n} = {{\n        kdc = {}\n    }}\n",
            kdc.address()
        );
        kdcs.push(kdc);
        let principal = format!("l{n}@LIES{n}");
        let keytab = chain.keytabs().join(format!("l{n}.keytab"));
        let added = chain.kdc.add_principal_with_keytab(&principal, &keytab);
        added.await.unwrap();
        let _ = write!(
            yaml,
            "  l{n}:\n    principal: {principal}\n    schedds: [here]\n    credentials: {{cms: {{}}}}\n"
        );
    }
    let krb5 = chain.kdc.krb5_conf();
    let text = fs::read_to_string(&krb5).unwrap();
    let text = text.replacen("[realms]\n", &format!("[realms]\n{realms}"), 1);
    fs::write(&krb5, text).unwrap();
    let config = chain.write_bastion_config(&yaml).unwrap();
    let mut bastion = chain.service(&config).unwrap();
    let report = host
        .status(&config, &["status"], "every lie told", |report| {
            let others = report.is_good_for("cmsprod") && report.is_good_for("crabtw");
            others && report.problems.len() == kdcs.len()
        })
        .await;
    for (n, (_, words)) in lies("LIES").into_iter().enumerate() {
        let cause = Cause::Realm(format!("LIES{n}"));
        let group = report.problems.iter().find(|group| group.cause == cause);
        let group = group.unwrap_or_else(|| panic!("{n}: {:#?}", report.problems));
        println!("{}", group.message);
        assert_eq!((group.kind, group.remedy), (Kind::KdcDown, Remedy::Wait));
        assert!(group.message.contains(words), "{}", group.message);
        assert!(
            !group.message.contains(char::is_control),
            "{}",
            group.message
        );
        assert!(group.message.chars().count() < 1000, "{}", group.message);
    }
    let log = bastion.tail(10_000);
    assert!(
        !log.contains('\u{1b}') && !log.contains('\u{202e}'),
        "{log}"
    );
    assert!(
        report
            .deliveries
            .iter()
            .filter(|line| line.state == State::Good)
            .count()
            == 3
    );
    bastion.stop().await.unwrap();
}
