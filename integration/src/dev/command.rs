//! The command `htvault-dev`: options, start, signals, exit code.
//!
//! What always holds: exit code 2 and one message that names the file or option when it cannot be
//! started as asked, 1 when it fails otherwise, 0 after SIGTERM or SIGINT.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use htvault::clock::SystemClock;
use htvault::kerberos::Acceptor;
use jiff::SignedDuration;
use secrecy::SecretString;
use tokio::signal::unix::{SignalKind, signal};

use super::controls::Troubles;
use super::duration::{parse, parse_option};
use super::faults::Fault;
use super::node::Condition;
use super::outside::OutsideIssuer;
use super::quota::Quota;
use super::request_log::RequestLog;
use super::server::{Files, Server, Start};
use super::settings::{Grant, RoleScopes, Settings};
use super::state_file::StateFile;
use super::tls;

/// A development HTVault with a token issuer: the answers of the real one. Nothing is kept on
/// disk unless --state says where.
#[derive(Debug, Parser)]
#[command(name = "htvault-dev", version)]
struct Options {
    /// Address and port of the Vault half; more than one for a cluster, whose first node leads
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.83.0.1:8200")]
    listen: Vec<SocketAddr>,
    /// Name of the Vault, as in its certificate and its Kerberos principal host/NAME
    #[arg(long, value_name = "HOST", default_value = "vault.test")]
    name: String,
    /// Certificate (with its chain) of the Vault half, PEM
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// Key of the Vault half, PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Address and port of the token issuer
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.83.0.10:8443")]
    issuer_listen: SocketAddr,
    /// URL of the token issuer; the issuer NAME is this and /NAME
    #[arg(long, value_name = "URL", default_value = "https://issuer.test:8443")]
    issuer_url: String,
    /// Certificate (with its chain) of the issuer, PEM
    #[arg(long, value_name = "FILE")]
    issuer_cert: PathBuf,
    /// Key of the issuer, PEM
    #[arg(long, value_name = "FILE")]
    issuer_key: PathBuf,
    /// Authority that the Vault half trusts the issuer by, PEM
    #[arg(long, value_name = "FILE")]
    ca_file: PathBuf,
    /// Keytab with the key of host/NAME, to check tickets with
    #[arg(long, value_name = "FILE")]
    keytab: PathBuf,
    /// Somebody who has onboarded already: a refresh token is stored for them (repeatable)
    #[arg(long = "grant", value_name = "ISSUER:CREDKEY:ROLE")]
    grants: Vec<Grant>,
    /// The token subject of a credkey; else its first part (repeatable)
    #[arg(long = "subject", value_name = "CREDKEY=SUB", value_parser = parse_subject)]
    subjects: Vec<(String, String)>,
    /// A role, in addition to or in place of cms:default, cms:crab, cms:production (repeatable)
    #[arg(long = "role", value_name = "ISSUER:ROLE=SCOPES")]
    roles: Vec<RoleScopes>,
    /// Audience of tokens for which none is asked
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://wlcg.cern.ch/jwt/v1/any"
    )]
    audience: String,
    /// Life of access tokens
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_option)]
    access_token_life: Duration,
    /// Life of refresh tokens that are not used
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = parse_option)]
    refresh_token_life: Duration,
    /// Life of the Vault token of a login
    #[arg(long, value_name = "DURATION", default_value = "672h", value_parser = parse_option)]
    login_life: Duration,
    /// Longest life of any Vault token
    #[arg(long, value_name = "DURATION", default_value = "672h", value_parser = parse_option)]
    max_life: Duration,
    /// How long the Vault half waits for the issuer
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_option)]
    issuer_timeout: Duration,
    /// How long a device flow waits for approval
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_option)]
    device_life: Duration,
    /// How long a client of a device flow is to wait between polls, in whole seconds
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = parse_option)]
    poll_interval: Duration,
    /// Requests that a client address has at each node, and how long it is blocked when it asks more
    #[arg(long, value_name = "LIMIT/PERIOD[/BLOCK]")]
    quota: Option<Quota>,
    /// Say in a 429 when to come back, which the real server does not
    #[arg(long)]
    retry_after: bool,
    /// Address and port of the admin endpoint, plain HTTP; none without this, loopback only
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin_listen: Option<SocketAddr>,
    /// File with the secret of the issuer's client `htvault-dev`, for a real Vault that is to use the
    /// issuer as well; else a random one
    #[arg(long, value_name = "FILE")]
    issuer_client_secret: Option<PathBuf>,
    /// An issuer that stands elsewhere, such as a real one, for the roles of this name: this server is
    /// its client `htvault-dev` with the secret of --issuer-client-secret (repeatable)
    #[arg(long = "outside-issuer", value_name = "NAME=URL")]
    outside_issuers: Vec<OutsideIssuer>,
    /// A fault that is on from the start: latency=TIME, hang, drop, status=CODE, garbage or
    /// oversized=SIZE, then any of ,node=N|issuer ,path=PREFIX ,times=N ,share=PERCENT (repeatable)
    #[arg(long = "fault", value_name = "EFFECT[,WHERE…]")]
    faults: Vec<Fault>,
    /// How far the clock of the Vault half is wrong, as 1h or -90s
    #[arg(long, value_name = "DURATION", value_parser = parse, default_value = "0s", allow_hyphen_values = true)]
    vault_clock: SignedDuration,
    /// How far the issuer's clock is wrong, as 1h or -90s
    #[arg(long, value_name = "DURATION", value_parser = parse, default_value = "0s", allow_hyphen_values = true)]
    issuer_clock: SignedDuration,
    /// The condition of a node, counted from 1: active, standby, sealed or leaderless (repeatable)
    #[arg(long = "condition", value_name = "N=CONDITION", value_parser = parse_condition)]
    conditions: Vec<(usize, Condition)>,
    /// Keep tokens, grants, stored credentials and the issuer's key in this file, over a restart
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Note each request as a line of JSON in this file, or on the standard output for -
    #[arg(long, value_name = "FILE")]
    log_requests: Option<PathBuf>,
}

fn parse_condition(text: &str) -> Result<(usize, Condition), String> {
    let (number, condition) =
        (text.split_once('=')).ok_or_else(|| format!("{text:?} is not of the form N=CONDITION"))?;
    let number: usize = (number.parse().ok().filter(|number| *number > 0))
        .ok_or_else(|| format!("{number:?} is no number of a node, counted from 1"))?;
    Ok((number, condition.parse()?))
}

fn parse_subject(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((credkey, sub)) if !credkey.is_empty() && !sub.is_empty() => {
            Ok((credkey.to_owned(), sub.to_owned()))
        }
        _ => Err(format!("{text:?} is not of the form CREDKEY=SUB")),
    }
}

/// Runs the command; the process ends with what it returns.
#[must_use]
pub fn main() -> ExitCode {
    let options = Options::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let (start, conditions) = match prepare(options) {
        Ok(prepared) => prepared,
        Err(words) => return fail(2, &words),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &format!("cannot start: {error}")),
    };
    let ended = runtime.block_on(run(start, conditions));
    // A ticket being checked in the background may not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &format!("{error:#}")),
    }
}

fn fail(code: u8, words: &str) -> ExitCode {
    eprintln!("htvault-dev: {words}");
    ExitCode::from(code)
}

fn read_secret(path: &Path) -> Result<SecretString, String> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        format!(
            "cannot read the client's secret {}: {error}",
            path.display()
        )
    })?;
    match text.trim() {
        "" => Err(format!("the client's secret {} is empty", path.display())),
        secret => Ok(secret.into()),
    }
}

/// What state nodes begin in, where it is another than usual.
type Conditions = Vec<(usize, Condition)>;

/// Checks all that can be wrong before anything is started.
fn prepare(options: Options) -> Result<(Start, Conditions), String> {
    let defaults = Settings::default();
    let client_secret = (options.issuer_client_secret.as_deref())
        .map(read_secret)
        .transpose()?;
    let mut roles = defaults.roles;
    roles.extend((options.roles.into_iter()).map(|role| (role.name, role.scopes)));
    let settings = Settings {
        name: options.name,
        issuer_url: options.issuer_url.trim_end_matches('/').to_owned(),
        roles,
        grants: options.grants,
        subjects: BTreeMap::from_iter(options.subjects),
        audience: options.audience,
        access_token_life: options.access_token_life,
        refresh_token_life: options.refresh_token_life,
        login_life: options.login_life,
        max_life: options.max_life,
        issuer_timeout: options.issuer_timeout,
        device_life: options.device_life,
        poll_interval: options.poll_interval,
        client_secret,
        outside_issuers: (options.outside_issuers.into_iter())
            .map(|issuer| (issuer.name, issuer.url))
            .collect(),
    };
    settings.check()?;
    if !settings.issuer_url.starts_with("https://")
        || settings.issuer_url.parse::<url::Url>().is_err()
    {
        return Err(format!(
            "--issuer-url {:?} is no https URL",
            settings.issuer_url
        ));
    }
    let files = Files {
        certificate: options.cert,
        key: options.key,
        issuer_certificate: options.issuer_cert,
        issuer_key: options.issuer_key,
        ca_file: options.ca_file,
    };
    tls::server(&files.certificate, &files.key)?;
    tls::server(&files.issuer_certificate, &files.issuer_key)?;
    tls::client(&files.ca_file)?;
    let keytab = &options.keytab;
    std::fs::File::open(keytab)
        .map_err(|error| format!("cannot read keytab {}: {error}", keytab.display()))?;
    let acceptor = Acceptor::new(keytab)
        .map_err(|error| format!("cannot use keytab {}: {error}", keytab.display()))?;
    let log = match &options.log_requests {
        None => None,
        Some(path) => Some(RequestLog::open(path).map_err(|error| {
            format!("cannot write the request log {}: {error}", path.display())
        })?),
    };
    if let Some(address) = options.admin_listen
        && !address.ip().is_loopback()
    {
        return Err(format!(
            "--admin-listen {address}: the admin endpoint knows no passwords and listens on \
             loopback addresses only, as 127.83.0.1:8199"
        ));
    }
    let nodes = options.listen.len();
    let mut named = options.conditions.iter().map(|(number, _)| *number);
    if let Some(number) = named.find(|number| *number > nodes) {
        return Err(format!(
            "--condition: there is no node {number}, only {nodes}"
        ));
    }
    let state = options.state.as_deref().map(StateFile::open).transpose()?;
    let start = Start {
        settings,
        tickets: Arc::new(acceptor),
        clock: Arc::new(SystemClock),
        files,
        listen: options.listen,
        issuer_listen: options.issuer_listen,
        log,
        troubles: Troubles {
            faults: options.faults,
            quota: options.quota,
            retry_after: options.retry_after,
            vault_clock: options.vault_clock,
            issuer_clock: options.issuer_clock,
        },
        admin_listen: options.admin_listen,
        state,
    };
    Ok((start, options.conditions))
}

async fn run(start: Start, conditions: Conditions) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let name = start.settings.name.clone();
    let issuer_url = start.settings.issuer_url.clone();
    let server = Server::start(start).await?;
    for (number, condition) in conditions {
        server.parts().set_condition(number, condition)?;
    }
    let addresses = server.addresses();
    let port = addresses.first().map_or(0, SocketAddr::port);
    let admin = (server.admin_address())
        .map_or_else(String::new, |address| format!(" admin=http://{address}"));
    // Whoever started it may not listen; it serves all the same.
    let _ = writeln!(
        std::io::stdout(),
        "ready vault=https://{name}:{port} issuer={issuer_url}{admin}"
    );
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    server.stop().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn options_are_consistent() {
        Options::command().debug_assert();
    }

    fn options(folder: &Path) -> Options {
        let file = |name: &str| folder.join(name).display().to_string();
        Options::parse_from([
            "htvault-dev",
            "--cert",
            &file("vault.crt"),
            "--key",
            &file("vault.key"),
            "--issuer-cert",
            &file("issuer.crt"),
            "--issuer-key",
            &file("issuer.key"),
            "--ca-file",
            &file("ca.pem"),
            "--keytab",
            &file("host.keytab"),
        ])
    }

    #[test]
    fn a_missing_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let words = prepare(options(folder.path())).err().unwrap();
        assert!(words.contains("vault.crt"), "{words}");
    }
}
