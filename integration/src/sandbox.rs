//! The sandbox of `integration/setup/sandbox`, seen from inside: where its parts are.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};

use crate::pool::Release;

/// Fails outside the sandbox, and says how to get in. Call it before anything is mounted.
pub fn require() -> anyhow::Result<()> {
    ensure!(
        std::env::var_os("TOKEN_BASTION_SANDBOX").is_some_and(|value| value == "1"),
        "this needs the sandbox: run it by integration/test, or by integration/setup/sandbox COMMAND"
    );
    Ok(())
}

/// The folder in memory that is gone when the sandbox ends; everything of a run belongs there.
pub fn run_folder() -> anyhow::Result<PathBuf> {
    path("TOKEN_BASTION_RUN")
}

/// A new folder in it that every user may enter, since the parts run as several.
pub fn new_folder() -> anyhow::Result<tempfile::TempDir> {
    let folder = tempfile::tempdir_in(run_folder()?)?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

/// The root file system with an HTCondor, made by `integration/setup/pool`.
pub(crate) fn pool_root(release: Release) -> anyhow::Result<PathBuf> {
    let (variable, make) = match release {
        Release::Current => ("TOKEN_BASTION_POOL", "pool"),
        Release::Older => ("TOKEN_BASTION_OLDER_POOL", "pool --older"),
    };
    let root = path(variable)?;
    let version = fs::read_to_string(root.join("etc/token-bastion-pool")).unwrap_or_default();
    ensure!(
        version.contains(&format!("$CondorVersion: {}", release.version())),
        "there is no HTCondor {} in {}: run integration/setup/{make}",
        release.version(),
        root.display()
    );
    Ok(root)
}

/// The environment with htgettoken, made by `integration/setup/htgettoken`.
pub(crate) fn htgettoken() -> anyhow::Result<PathBuf> {
    let place = path("TOKEN_BASTION_HTGETTOKEN")?;
    ensure!(
        place.is_dir(),
        "there is no htgettoken in {}: run integration/setup/htgettoken",
        place.display()
    );
    Ok(place)
}

/// The folders with each release of OpenBao, made by `integration/setup/openbao`.
pub(crate) fn openbao() -> anyhow::Result<PathBuf> {
    let place = path("TOKEN_BASTION_OPENBAO")?;
    ensure!(
        place.is_dir(),
        "there is no OpenBao in {}: run integration/setup/openbao",
        place.display()
    );
    Ok(place)
}

/// The folder with Keycloak, made by `integration/setup/keycloak`.
pub(crate) fn keycloak() -> anyhow::Result<PathBuf> {
    let place = path("TOKEN_BASTION_KEYCLOAK")?;
    ensure!(
        place.is_dir(),
        "there is no Keycloak in {}: run integration/setup/keycloak",
        place.display()
    );
    Ok(place)
}

/// `bindfs` and `libfaketime`, unpacked by `integration/setup/packages`.
pub(crate) fn fault_tools() -> anyhow::Result<PathBuf> {
    let place = path("TOKEN_BASTION_FAULTS")?;
    ensure!(
        place.is_dir(),
        "there is no bindfs in {}: run integration/setup/packages",
        place.display()
    );
    Ok(place)
}

fn path(variable: &str) -> anyhow::Result<PathBuf> {
    require()?;
    std::env::var_os(variable)
        .map(PathBuf::from)
        .with_context(|| format!("the sandbox did not set {variable}"))
}
