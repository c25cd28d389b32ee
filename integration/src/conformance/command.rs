//! The command `conformance`: options, table, exit code.
//!
//! What always holds: exit code 0 when every case that ran is answered as recorded, 1 when one is
//! not or the server cannot be reached, 2 for wrong usage; no secret is printed.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

use super::admin::Admin;
use super::names::{Names, Slots};
use super::recorded::exchange;
use super::run::{Outcome, Outcomes, Verdict, run};
use super::server::Server;
use super::stage::Stage;
use super::ticket::Tickets;

/// Compares a running HTVault with the recorded exchanges of a real one, case by case.
///
/// Without --destructive nothing is left changed: the tokens that it makes are revoked at the end.
/// Exit code 0: all that ran is as recorded; 1: something differs; 2: wrong usage.
#[derive(Debug, Parser)]
#[command(name = "conformance", version)]
pub struct Options {
    /// The server: `https://HOST:8200`
    #[arg(long, value_parser = parse_url)]
    pub url: Url,
    /// Certificate authorities that its certificate is checked by, PEM
    #[arg(long, value_name = "FILE")]
    pub ca: PathBuf,
    /// Keytab with the key of the principal
    #[arg(long, value_name = "FILE")]
    pub keytab: PathBuf,
    /// The Kerberos principal to log in as: NAME@REALM
    #[arg(long, value_parser = parse_principal)]
    pub principal: String,
    /// The token issuer as Vault names it
    #[arg(long)]
    pub issuer: String,
    /// The role, for which a refresh token of the principal should be stored
    #[arg(long)]
    pub role: String,
    /// Under which key it is stored [default: the principal without its realm]
    #[arg(long)]
    pub credkey: Option<String>,
    /// The name in the server's Kerberos principal host/NAME [default: the URL's host]
    #[arg(long, value_name = "HOST")]
    pub cluster: Option<String>,
    /// Scopes for reduced tokens, separated by spaces: runs the cases with these
    #[arg(long)]
    pub scopes: Option<String>,
    /// An audience for reduced tokens: with --scopes, runs the case with one
    #[arg(long)]
    pub audience: Option<String>,
    /// A robot's principal, NAME/PURPOSE/HOST@REALM: runs the case with one
    #[arg(long, requires = "robot_keytab", value_parser = parse_principal)]
    pub robot_principal: Option<String>,
    /// Keytab with the robot's key
    #[arg(long, value_name = "FILE", requires = "robot_principal")]
    pub robot_keytab: Option<PathBuf>,
    /// Also cases that revoke tokens, delete or replace the stored refresh token, use up the quota
    #[arg(long)]
    pub destructive: bool,
    /// The admin endpoint of an htvault-dev, to bring it into the states that cases are about
    #[arg(long, value_name = "URL")]
    pub admin: Option<Url>,
    /// The server has no oauthapp plugin: leave out what only the plugin answers
    #[arg(long)]
    pub without_plugin: bool,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}

fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if url.scheme() != "https" || !matches!(url.path(), "" | "/") || url.query().is_some() {
        return Err("must be https://HOST:PORT and nothing more".into());
    }
    Ok(url)
}

fn parse_principal(text: &str) -> Result<String, String> {
    match text.split_once('@') {
        Some((name, realm)) if !name.is_empty() && !realm.is_empty() => Ok(text.to_owned()),
        _ => Err("must be NAME@REALM".into()),
    }
}

/// Runs the command; the process ends with what it returns.
#[must_use]
pub fn main() -> ExitCode {
    let options = Options::parse();
    let json = options.json;
    let stage = match prepare(options) {
        Ok(stage) => stage,
        Err(error) => return fail(2, &error),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &error.into()),
    };
    let outcomes = match runtime.block_on(look(stage, json)) {
        Ok(outcomes) => outcomes,
        Err(error) => return fail(1, &error),
    };
    ExitCode::from(u8::from(outcomes.differs != 0))
}

fn fail(code: u8, error: &anyhow::Error) -> ExitCode {
    eprintln!("conformance: {error:#}");
    ExitCode::from(code)
}

/// Checks all that can be wrong before anything is sent.
pub fn prepare(options: Options) -> anyhow::Result<Stage> {
    let host = options.url.host_str().context("the URL names no host")?;
    let cluster = options.cluster.unwrap_or_else(|| host.to_owned());
    let url = options.url.as_str().trim_end_matches('/').to_owned();
    let keytabs = [Some(&options.keytab), options.robot_keytab.as_ref()];
    for keytab in keytabs.into_iter().flatten() {
        std::fs::File::open(keytab)
            .with_context(|| format!("cannot read keytab {}", keytab.display()))?;
    }
    let server = Server::new(&url, &options.ca)?;
    let name = options.principal.split('@').next().unwrap_or_default();
    // Where a browser comes back to: the issuer knows the cluster, not the one server of it.
    let mut public = options.url.clone();
    public
        .set_host(Some(&cluster))
        .with_context(|| format!("{cluster} is no host name"))?;
    let names = Names {
        url: public.as_str().trim_end_matches('/').to_owned(),
        issuer: options.issuer,
        role: options.role,
        credkey: options.credkey.unwrap_or_else(|| name.to_owned()),
        audience: options.audience,
        scopes: options.scopes,
    };
    let tickets = |principal, keytab| Tickets {
        principal,
        keytab,
        cluster: cluster.clone(),
    };
    let mut stage = Stage::new(server, names, tickets(options.principal, options.keytab));
    stage.robot = (options.robot_principal.zip(options.robot_keytab))
        .map(|(principal, keytab)| tickets(principal, keytab));
    stage.admin = match &options.admin {
        Some(url) => Some(Admin::new(url.as_str(), &options.ca)?),
        None => None,
    };
    stage.destructive = options.destructive;
    stage.without_plugin = options.without_plugin;
    Ok(stage)
}

/// Looks at the server and prints what is seen.
async fn look(mut stage: Stage, json: bool) -> anyhow::Result<Outcomes> {
    let health = exchange("health")?.request;
    let health = stage.names.request(&health, &Slots::default());
    let status = stage.server.send(&health).await?.status;
    ensure!(
        matches!(status, 200 | 429),
        "{} is not ready: sys/health answers {status}",
        stage.server.url()
    );
    stage.standby = status == 429;
    let colours = std::io::stdout().is_terminal();
    let tell = |outcome: &Outcome| {
        if !json {
            say(&row(outcome, colours));
        }
    };
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let outcomes = tokio::select! {
        outcomes = run(&mut stage, tell) => Some(outcomes),
        _ = ctrl_c() => None,
        _ = terminate.recv() => None,
    };
    let Some(outcomes) = outcomes else {
        if let Some(admin) = &stage.admin {
            admin.restore().await?;
        }
        let (dead, all) = stage.revoke_all().await;
        bail!("interrupted; {dead} of {all} tokens that were left are revoked");
    };
    if json {
        say(&serde_json::to_string_pretty(&outcomes)?);
    } else {
        say(&summary(&outcomes));
    }
    Ok(outcomes)
}

/// A closed pipe must not look like a difference.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn row(outcome: &Outcome, colours: bool) -> String {
    let (word, colour, why) = match &outcome.verdict {
        Verdict::Ok => ("ok", 32, ""),
        Verdict::Differs(why) => ("differs", 31, why.as_str()),
        Verdict::Skipped(why) => ("skipped", 33, why.as_str()),
    };
    let time = (outcome.milliseconds).map_or_else(String::new, |time| format!("{time} ms"));
    let word = format!("{word:<8}");
    let word = if colours {
        format!("\x1b[{colour}m{word}\x1b[0m")
    } else {
        word
    };
    let name = outcome.name;
    format!("{name:<40}{word}{time:>9}  {why}")
        .trim_end()
        .to_owned()
}

fn summary(outcomes: &Outcomes) -> String {
    let Outcomes {
        url,
        ok,
        differs,
        skipped,
        tokens,
        revoked,
        ..
    } = outcomes;
    let left = match tokens - revoked {
        0 => String::new(),
        left => format!(" ({left} could not be revoked and will expire)"),
    };
    format!(
        "\n{url}: {ok} ok, {differs} differs, {skipped} skipped; {tokens} tokens made and revoked{left}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(more: &[&str]) -> Result<Options, clap::Error> {
        let usual =
            "conformance --url https://v.example:8200 --ca a --keytab k --issuer i --role r";
        Options::try_parse_from(usual.split(' ').chain(more.iter().copied()))
    }

    #[test]
    fn wrong_usage_is_refused() {
        assert!(parse(&["--principal", "a@B"]).is_ok());
        assert!(parse(&[]).is_err());
        assert!(parse(&["--principal", "a"]).is_err());
        assert!(parse(&["--principal", "a@B", "--robot-principal", "a/b/c@B"]).is_err());
        for wrong in ["http://v", "https://v:8200/v1/x", "v.example:8200"] {
            assert!(parse_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_row_says_why() {
        let outcome = Outcome {
            name: "health",
            verdict: Verdict::Skipped("because".into()),
            milliseconds: None,
        };
        assert!(row(&outcome, false).starts_with("health  "));
        assert!(row(&outcome, false).ends_with("skipped            because"));
        assert!(row(&outcome, true).contains("\x1b[33mskipped"));
    }
}
