//! The contract: which secret may be where. And the search of everything, with leaks that are planted to see that it
//! finds them.
//!
//! What always holds: a secret is named by its place and kind.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::ensure;

use super::known::{Finder, Kind};
use super::search::{self, Found, Sampler};
use super::stage::Stage;

/// The only variable of the only program that gets a secret in its environment, with `transport: condor`: HTCondor's own
/// tool takes the access token that opens a credd in no other way that leaves no file.
const BEARER: &str = "BEARER_TOKEN of condor_store_cr";

pub fn nothing_is_elsewhere(found: &[Found]) -> anyhow::Result<()> {
    let is_outside = |(place, kind): &&Found| !is_named(place, *kind);
    let outside: BTreeSet<&Found> = found.iter().filter(is_outside).collect();
    ensure!(
        outside.is_empty(),
        "secrets where none may be: {outside:#?}"
    );
    Ok(())
}

/// The contract: which secret may be where.
fn is_named(place: &str, kind: Kind) -> bool {
    let is = |beginning: &str, end: &str| place.starts_with(beginning) && place.ends_with(end);
    match kind {
        Kind::Key => is("/etc/token-bastion/keytabs/", ".keytab"),
        Kind::VaultToken => is("/var/lib/condor/oauth_credentials/", ".top"),
        Kind::AccessToken => {
            is("/var/lib/condor/oauth_credentials/", ".use")
                || is("/var/lib/condor/execute/dir_", ".use")
                // The kernel knows 15 letters of its name.
                || is(BEARER, " (environ)")
                // It notes what the tool is started with.
                || place == "BEARER_TOKEN of cat (environ)"
        }
        Kind::Ticket | Kind::Login | Kind::RefreshToken | Kind::Flow => false,
    }
}

/// The search itself worked: it met secrets in each place that may have them.
pub fn each_place_of_the_contract_was_seen(found: &[Found], transport: &str) -> anyhow::Result<()> {
    let is_in_environment = found
        .iter()
        .any(|(place, _)| place.starts_with("BEARER_TOKEN"));
    ensure!(
        is_in_environment == (transport == "condor"),
        "{transport}: a token in an environment: {is_in_environment}"
    );
    for (beginning, end) in [
        ("/etc/token-bastion/keytabs/", "cmsprod.keytab"),
        ("/var/lib/condor/oauth_credentials/", "crabtw/cms_crab.top"),
        (
            "/var/lib/condor/oauth_credentials/",
            "cmsprod/cms_production.use",
        ),
        ("/var/lib/condor/execute/", "cms_crab.use"),
    ] {
        let is = |(place, _): &Found| place.starts_with(beginning) && place.ends_with(end);
        ensure!(
            found.iter().any(is),
            "nothing was found in {beginning}…{end}"
        );
    }
    Ok(())
}

/// All secrets in files, in files without a name, in what was printed, in arguments and environments.
pub fn everything(stage: &Stage, processes: &BTreeSet<search::Seen>) -> anyhow::Result<Vec<Found>> {
    let finder = stage.known.finder();
    let mut found: Vec<Found> = Vec::new();
    found.extend(files(&finder, stage));
    found.extend(search::nameless(&finder));
    for (name, said) in stage.said() {
        found.extend(
            finder
                .find(&said)
                .into_keys()
                .map(|kind| (name.clone(), kind)),
        );
    }
    let started = stage.started();
    ensure!(
        started.iter().any(|(_, what, _)| *what == "environ"),
        "no start was noted"
    );
    for seen in started.iter().chain(processes) {
        found.extend(search::in_strings(&finder, seen));
    }
    Ok(found)
}

/// Secrets in files: by the path that the pool knows, or else the whole one. What the KDC, the authority, the test's own keytabs
/// and the notes of starts hold is theirs.
fn files(finder: &Finder, stage: &Stage) -> Vec<Found> {
    let folder = stage.folder();
    let (upper, root) = (folder.join("pool/upper"), folder.join("pool/root"));
    let inside = |path: &Path| match path.strip_prefix(&upper).or(path.strip_prefix(&root)) {
        Ok(inside) => Path::new("/").join(inside).display().to_string(),
        Err(_) => path.display().to_string(),
    };
    let notes = inside(&stage.notes());
    let own = ["keytabs", "vault.keytab", "kdc", "ca"].map(|name| folder.join(name));
    // Programs that were copied in are large, and nobody writes to them.
    let programs = [upper.join("usr/sbin"), upper.join("usr/libexec")];
    let shared = root.join("dev/shm");
    let run = std::env::var_os("TOKEN_BASTION_RUN").unwrap();
    let all = search::files(finder, Path::new(&run), &programs);
    (all.into_iter().chain(search::files(finder, &shared, &[])))
        .filter(|(path, _)| !own.iter().any(|own| path.starts_with(own)))
        .map(|(path, kind)| (inside(&path), kind))
        .filter(|(place, _)| !place.starts_with(&notes))
        .collect()
}

/// The search sees what it is for: whole tokens, pieces, other forms, other places.
pub fn planted_leaks_are_found(stage: &Stage) -> anyhow::Result<()> {
    use base64::Engine as _;
    let token = |kind| String::from_utf8(stage.known.one(kind)).unwrap();
    let base64 = base64::engine::general_purpose::STANDARD
        .encode(format!("token {}", token(Kind::VaultToken)));
    let finder = stage.known.finder();
    for (path, content, kind) in [
        (
            "/var/log/condor/CredMonOAuthLog",
            format!("a line with {}\n", token(Kind::AccessToken)),
            Kind::AccessToken,
        ),
        (
            "/tmp/x",
            format!("…{}…", token(Kind::Login).get(5..22).unwrap()),
            Kind::Login,
        ),
        (
            "/var/lib/token-bastion/state.json",
            format!("{{\"x\":\"{base64}\"}}"),
            Kind::VaultToken,
        ),
        ("/dev/shm/y", token(Kind::RefreshToken), Kind::RefreshToken),
    ] {
        fs::write(stage.pool.path(path), content)?;
        let found = files(&finder, stage);
        ensure!(
            found.contains(&(path.to_owned(), kind)),
            "{path}: {found:?}"
        );
        ensure!(!is_named(path, kind));
    }
    let sampler = Sampler::start();
    let child = std::process::Command::new("sleep")
        .arg("1000")
        .env("HIDDEN", token(Kind::AccessToken))
        .spawn()?;
    let open = std::os::unix::process::CommandExt::arg0(
        &mut std::process::Command::new("sleep"),
        token(Kind::VaultToken),
    )
    .arg("1000")
    .spawn()?;
    let deadline = std::time::Instant::now() + Duration::from_mins(1);
    for mut child in [child, open] {
        let look = || -> anyhow::Result<usize> {
            let strings = ["cmdline", "environ"].map(|name| {
                let read = fs::read(format!("/proc/{}/{name}", child.id()));
                read.map(|content| ("sleep".to_owned(), name, content))
            });
            let mut found = 0;
            for seen in strings {
                found += search::in_strings(&finder, &seen?).len();
            }
            Ok(found)
        };
        // A process has neither while it becomes the program.
        let mut found = 0;
        while found == 0 {
            ensure!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
            found = look()?;
        }
        ensure!(found == 1, "{found}");
        child.kill()?;
        child.wait()?;
    }
    drop(sampler.stop());
    Ok(())
}
