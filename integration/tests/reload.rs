//! A service that runs, and the files of its configuration: what is changed there shows at the
//! schedd, and what is broken there changes nothing.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use integration::chain::Lives;
use integration::here::Here;
use integration::wait;
use integration::wait::FAR;

/// As an editor does it: a new file takes the old one's name.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, file).unwrap();
}

/// Waits until a file is there that is not the one with this inode.
async fn new_file(file: &Path, old: Option<u64>) -> u64 {
    let inode = async || match fs::metadata(file) {
        Ok(metadata) if Some(metadata.ino()) != old => Ok(metadata.ino()),
        Ok(_) => Err("it is the old one".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    wait::until(&format!("{}", file.display()), FAR, inode)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_replaced_file_is_followed_and_a_broken_one_is_not() {
    let here = Here::start(Lives::QUICK).await.unwrap();
    let (chain, directory) = (&here.chain, &here.directory);

    let whole = here.yaml();
    let without = whole.replace("      cms_production: {}\n", "");
    assert_ne!(whole, without);
    let config = chain.write_bastion_config(&without).unwrap();
    let mut bastion = chain.service(&config).unwrap();
    let (cms, production) = (
        directory.join("cmsprod/cms.top"),
        directory.join("cmsprod/cms_production.top"),
    );
    new_file(&cms, None).await;
    assert!(!production.exists(), "not configured yet");

    // One more delivery, and it is told before it is there.
    replace(&config, &whole);
    new_file(&production, None).await;
    bastion
        .wait_for_line(
            "the configuration changes: + cmsprod/cms_production at here",
            FAR,
        )
        .await
        .unwrap();

    // A slip in a file of config.d: told with its place, and tokens go on being renewed.
    let more = here.folder().join("config.d/slip.yaml");
    fs::create_dir(more.parent().unwrap()).unwrap();
    fs::write(&more, "accounts: {other: {keytap: /x}}\n").unwrap();
    let told = bastion
        .wait_for_line("the new configuration is not used: ", FAR)
        .await
        .unwrap();
    assert!(told.contains("slip.yaml:1:"), "{told}");
    let old = fs::metadata(&production).unwrap().ino();
    new_file(&production, Some(old)).await;

    // Put right, and one delivery less: it is not revoked, and told how it would be.
    fs::remove_file(&more).unwrap();
    let mark = bastion.mark();
    replace(&config, &without);
    let advice = "token-bastion revoke --account cmsprod --service cms_production --schedd here";
    bastion
        .wait_for_line_after(mark, advice, FAR)
        .await
        .unwrap();
    assert!(production.exists(), "what is at the schedd stays");
    let old = fs::metadata(&cms).unwrap().ino();
    new_file(&cms, Some(old)).await;
    assert_eq!(bastion.stop().await.unwrap().code(), Some(0));
}
