//! `onboard`: a person logs in by OIDC; the refresh token is stored at Vault and tried.
//!
//! The command itself sends the requests to Vault, so it needs no running service and no readable keytab. A running
//! service is notified, and tries the credential at once.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueHint};
use console::Term;
use htvault::clock::{Clock as _, SystemClock};
use htvault::{Client as VaultClient, OidcLogin};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{CommandError, Done, complain, print, wrap};
use crate::api::bodies::{OnboardedAnswer, OnboardedNotice};
use crate::api::client::Client;
use crate::cli::arguments::{Global, Output};
use crate::cli::local;
use crate::cli::onboard::{self, Onboarded, Trial, show};
use crate::config::Config;
use crate::engine::Command;
use crate::engine::real::RealParts;
use crate::engine::revoke::run_again;
use crate::model::delivery::{Credential, Selection};
use crate::model::duration;
use crate::vault::HtVault;

/// Arguments of `onboard`.
#[derive(Debug, Args)]
pub(crate) struct OnboardArguments {
    /// The account.
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Other)]
    account: String,
    /// Only this service; else each that has no refresh token that works, one after the other.
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Other)]
    service: Option<String>,
    /// Those too that have a refresh token that works, as when it may run out.
    #[arg(long, conflicts_with = "service")]
    all: bool,
    /// Deadline for the login to each service.
    #[arg(long, value_name = "TIME", value_hint = ValueHint::Other, value_parser = duration::parse, default_value = "10m")]
    wait: Duration,
    #[command(flatten)]
    output: Output,
}

/// Has somebody log in for each credential that needs it.
pub(crate) fn onboard(global: &Global, arguments: &OnboardArguments) -> Result<Done, CommandError> {
    let config = global.load()?;
    let wanted = Selection {
        account: Some(arguments.account.clone()),
        service: arguments.service.clone(),
        schedd: None,
    };
    let credentials =
        onboard::credentials(&config, &wanted).map_err(|what| CommandError::wrong([what]))?;
    let client = VaultClient::new(&config.vault).map_err(anyhow::Error::from)?;
    let work = async |parts: Arc<RealParts>| {
        let onboarding = Onboarding {
            global,
            config: &config,
            arguments,
            client: &client,
            vault: &parts.vault,
        };
        tokio::select! {
            good = onboarding.each(&credentials) => good,
            // Nothing is half done: a login that nobody waits for is of no use to anybody.
            _ = tokio::signal::ctrl_c() => {
                complain(["stopped; what is not said to be stored is not"]);
                Ok(false)
            }
        }
    };
    Ok(Done::when(local::beside(&config, work)??))
}

struct Onboarding<'a> {
    global: &'a Global,
    config: &'a Config,
    arguments: &'a OnboardArguments,
    client: &'a VaultClient,
    vault: &'a HtVault,
}

impl Onboarding<'_> {
    /// One after the other; whether all is good.
    async fn each(&self, credentials: &[Arc<Credential>]) -> Result<bool, CommandError> {
        let mut good = true;
        for credential in credentials {
            let asked_for = self.arguments.service.is_some() || self.arguments.all;
            let mut result = Onboarded::new(credential);
            if !asked_for {
                let now = SystemClock.now();
                let (trial, _) = onboard::try_out(self.vault, credential, now).await;
                if matches!(trial, Trial::Good { .. }) {
                    result.trial = Some(trial);
                }
            }
            if result.trial.is_none() {
                self.one(credential, &mut result).await;
            }
            self.tell(&result)?;
            good &= result.is_good();
        }
        Ok(good)
    }

    async fn one(&self, credential: &Credential, result: &mut Onboarded) {
        let login = match self.log_in(credential).await {
            Ok(login) => login,
            Err(problem) => {
                result.problem = Some(problem);
                return;
            }
        };
        result.by = Some(login.credkey.clone());
        match onboard::store(self.client, credential, &login).await {
            Ok(expires) => result.refresh_token_expires = expires,
            Err(problem) => {
                result.problem = Some(problem);
                return;
            }
        }
        result.stored = true;
        let now = SystemClock.now();
        let (trial, _) = onboard::try_out(self.vault, credential, now).await;
        result.trial = Some(trial);
        self.note(result).await;
    }

    async fn log_in(&self, credential: &Credential) -> Result<Box<OidcLogin>, String> {
        let nonce = format!("{:032x}", rand::random::<u128>());
        let flow = self
            .client
            .start_device_flow(&credential.issuer, &credential.role, &nonce)
            .await
            .map_err(|error| run_again(&error.to_string()))?;
        if self.arguments.output.json {
            let link = json!({
                "event": "log_in", "account": credential.identity.account,
                "service": credential.service, "url": flow.url, "user_code": show::code(&flow),
            });
            print(&format!("{link}\n")).map_err(|failure| failure.lines().concat())?;
        } else {
            let terminal = Term::stderr();
            let screen = terminal.is_term().then(|| terminal.size());
            let mut stderr = io::stderr().lock();
            let code = show::code(&flow);
            let shown = show::invitation(credential, &flow.url, code.as_deref(), screen);
            let _ = stderr.write_all(shown.as_bytes());
        }
        let bar = waiting_bar();
        let login = onboard::wait(&mut (self.client, flow), self.arguments.wait, |trouble| {
            if let Some(trouble) = trouble {
                bar.suspend(|| complain([format!("still waiting: {trouble}")]));
            }
        })
        .await;
        bar.finish_and_clear();
        login.map_err(|why| why.to_string())
    }

    /// The service notes it and tries at once; without one it is noted here.
    async fn note(&self, result: &Onboarded) {
        match self.note_there(result).await {
            Ok(Some(OnboardedAnswer { fault: None })) => complain(["the service tries it at once"]),
            Ok(Some(OnboardedAnswer { fault: Some(fault) })) => complain([fault]),
            Ok(None) => self.note_here(result).await,
            Err(failure) => {
                complain(failure.lines());
                complain(["so the service does not know of it; it tries again within ten minutes"]);
            }
        }
    }

    /// Notifies the service; `None` where none runs.
    async fn note_there(
        &self,
        result: &Onboarded,
    ) -> Result<Option<OnboardedAnswer>, CommandError> {
        let Some(client) = Client::connect_if_running(&self.global.socket()?).await? else {
            return Ok(None);
        };
        let notice = OnboardedNotice {
            account: result.account.clone(),
            service: result.service.clone(),
            expires: result.refresh_token_expires,
        };
        Ok(Some(client.order("onboarded", &notice).await?))
    }

    async fn note_here(&self, result: &Onboarded) {
        let selection = Selection {
            account: Some(result.account.clone()),
            service: Some(result.service.clone()),
            schedd: None,
        };
        let ends = result.refresh_token_expires;
        let command = |answer| Command::Onboarded(selection, ends, answer);
        let noted = local::order(self.config, command).await;
        let fault = match noted {
            Ok(stored) => stored.err(),
            Err(error) => Some(format!("{error:#}")),
        };
        if let Some(fault) = fault {
            complain([format!(
                "its age cannot be kept ({fault}); the service will count from when it first sees it work"
            )]);
        }
    }

    fn tell(&self, result: &Onboarded) -> Result<(), CommandError> {
        if self.arguments.output.json {
            // Only strings, times and lists of them: this always makes JSON.
            let mut value = serde_json::to_value(result).unwrap_or_default();
            if let Some(object) = value.as_object_mut() {
                object.insert("event".to_owned(), "done".into());
            }
            print(&format!("{value}\n"))
        } else {
            print(&wrap::lines(
                &onboard::text(result),
                wrap::width(&Term::stdout()),
            ))
        }
    }
}

/// Moves while somebody is waited for; nothing without a terminal.
fn waiting_bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner().with_message("waiting for the login");
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed}, Ctrl-C ends it)") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}
