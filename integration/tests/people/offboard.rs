//! An account is given up.

use std::fs;

use integration::ended::text;
use serde_json::Value;

use crate::{Parts, has_top, parts, state};

#[tokio::test]
async fn an_account_is_offboarded_with_proof_and_a_second_run_finds_nothing_left() {
    let mut parts = parts().await;
    parts.start().await;
    parts.all_good().await;
    let tokens = ["here", "there"].map(|at| parts.stored(at, "crabtw", "cms_crab").unwrap());
    let offboard = ["offboard", "--account", "crabtw"];
    let dry = parts.run(&[&offboard[..], &["--dry-run"]].concat()).await;
    assert_eq!(dry.status.code(), Some(0), "{}", text(&dry));
    assert!(
        text(&dry).contains("forget refresh token cms/crabtw:crab"),
        "{}",
        text(&dry)
    );
    // What is configured away is stored still, and is meant too.
    let yaml = fs::read_to_string(&parts.config).unwrap();
    let without = yaml.replace(
        "crabtw: {credentials",
        "crabtw: {schedds: [here], credentials",
    );
    assert_ne!(yaml, without);
    for (yaml, there) in [
        (
            without,
            "revoke crabtw/cms_crab at there (the configuration has it no longer): revoke vault token ",
        ),
        (yaml, "revoke crabtw/cms_crab at there: revoke vault token "),
    ] {
        fs::write(&parts.config, yaml).unwrap();
        let reload = parts.run(&["reload"]).await;
        assert_eq!(reload.status.code(), Some(0), "{}", text(&reload));
        let dry = parts.run(&[&offboard[..], &["--dry-run"]].concat()).await;
        assert!(text(&dry).contains(there), "{}", text(&dry));
    }
    let unsure = parts.run(&offboard).await;
    assert_eq!(unsure.status.code(), Some(2), "{}", text(&unsure));
    assert!(parts.lives(&tokens[0]).await && parts.has_grant("crabtw", "crab").await);

    // A schedd that cannot be written keeps the refresh token, and nothing else.
    let folder = parts.chain.folder().join("there");
    let aside = parts.chain.folder().join("aside");
    fs::rename(&folder, &aside).unwrap();
    fs::write(&folder, "no folder").unwrap();
    let run = async |parts: &Parts| {
        let output = parts
            .run(&[&offboard[..], &["--yes", "--json"]].concat())
            .await;
        let whole: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)));
        (whole, output.status.code())
    };
    let (whole, code) = run(&parts).await;
    assert_eq!((code, &whole["done"]), (Some(1), &false.into()), "{whole}");
    for token in &tokens {
        assert!(!parts.lives(token).await, "{whole}");
    }
    assert!(parts.has_grant("crabtw", "crab").await, "{whole}");

    fs::remove_file(&folder).unwrap();
    fs::rename(&aside, &folder).unwrap();
    let (whole, code) = run(&parts).await;
    assert_eq!((code, &whole["done"]), (Some(0), &true.into()), "{whole}");
    assert_eq!(whole["vault"][0]["became"], "done", "{whole}");
    for at in ["here", "there"] {
        assert!(!has_top(&parts.folder(at, "crabtw")), "{whole}");
    }
    assert!(!parts.has_grant("crabtw", "crab").await);

    let (whole, code) = run(&parts).await;
    assert_eq!(code, Some(0), "{whole}");
    assert_eq!(whole["vault"][0]["became"], "nothing", "{whole}");
    let status = parts.status(|status| Some(status.clone())).await;
    assert_eq!(state(&status, "crabtw", "here"), "cut_off");
    assert_eq!(state(&status, "cmsprod", "here"), "good");
}
