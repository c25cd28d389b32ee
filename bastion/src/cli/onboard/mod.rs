//! `onboard`: a person logs in by OIDC; the refresh token is stored at Vault and tried.
//!
//! The command itself sends the requests to Vault, so it needs no running service and no readable keytab. A running
//! service is notified, and tries the credential at once.
//!
//! Always true: a refresh token is stored only for the owner of the credential; the login that stores it is revoked
//! afterwards, whatever the result; the refresh token goes from one answer of Vault into one request to Vault and
//! nowhere else. The stored refresh token is tried with the account's own keytab, as deliveries do it. Ctrl-C ends the
//! wait for a person and the trial; what is stored is reported then, the service is notified, and no login is left.

mod result;
mod show;
mod store;
pub(super) mod trial;
mod wait;

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueHint};
use console::Term;
use htvault::clock::{Clock as _, SystemClock};
use htvault::{Client, OidcLogin};
use jiff::Timestamp;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::result::Onboarded;
use self::trial::{Trial, try_out};
use super::executor::{self, Executor};
use super::output::Output;
use super::table::{width, wrapped};
use super::{CommandError, Done, complain, print, progress, until_ctrl_c};
use crate::api::bodies::OnboardedNotice;
use crate::cli::arguments::Global;
use crate::config::Config;
use crate::engine::Command;
use crate::engine::revoke::run_again;
use crate::model::delivery::{Credential, DeliveryId, Selection};
use crate::model::{duration, grants};
use crate::vault::HtVault;

/// Arguments of `onboard`.
#[derive(Debug, Args)]
pub(crate) struct OnboardArguments {
    /// The account.
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Other)]
    account: String,
    /// Only this service; without it, each service that has no working refresh token, one after the
    /// other.
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Other)]
    service: Option<String>,
    /// Also services that have a working refresh token, for example before it expires.
    #[arg(long, conflicts_with = "service")]
    all: bool,
    /// Deadline for the login to each service.
    #[arg(long, value_name = "TIME", value_hint = ValueHint::Other, value_parser = duration::parse, default_value = "10m")]
    wait: Duration,
    #[command(flatten)]
    output: Output,
}

/// Has somebody log in for each credential that needs it.
pub(crate) async fn onboard(
    global: &Global,
    arguments: &OnboardArguments,
) -> Result<Done, CommandError> {
    let config = global.load()?;
    let wanted = Selection {
        account: Some(arguments.account.clone()),
        service: arguments.service.clone(),
        schedd: None,
    };
    let credentials = credentials(&config, &wanted)?;
    let onboarding = Onboarding {
        global,
        arguments,
        client: Client::new(&config.vault).map_err(anyhow::Error::from)?,
        vault: Arc::clone(&executor::read_only(&config)?.vault),
        stop: CancellationToken::new(),
    };
    let done = until_ctrl_c(&onboarding.stop, onboarding.each(&credentials)).await?;
    if onboarding.stop.is_cancelled() {
        complain(["stopped; nothing was stored but what was reported as stored"]);
        return Ok(Done::NotGood);
    }
    Ok(done)
}

/// Returns the selected credentials.
///
/// # Errors
/// There is none.
pub(super) fn credentials(
    config: &Config,
    wanted: &Selection,
) -> Result<Vec<Arc<Credential>>, CommandError> {
    let mut credentials = grants::credentials(config.credentials());
    let id = |credential: &Arc<Credential>| DeliveryId {
        account: credential.identity.account.clone(),
        service: credential.service.clone(),
        schedd: String::new(),
    };
    let ids: Vec<DeliveryId> = credentials.iter().map(id).collect();
    wanted
        .check(&ids.iter().collect::<Vec<_>>())
        .map_err(|unknown| CommandError::wrong([unknown]))?;
    credentials.retain(|credential| wanted.matches_credential(credential));
    Ok(credentials)
}

struct Onboarding<'a> {
    global: &'a Global,
    arguments: &'a OnboardArguments,
    client: Client,
    vault: Arc<HtVault>,
    /// A person wants the command to end.
    stop: CancellationToken,
}

impl Onboarding<'_> {
    /// Onboards credentials, one after the other.
    async fn each(&self, credentials: &[Arc<Credential>]) -> Result<Done, CommandError> {
        let mut good = true;
        for credential in credentials {
            let mut result = Onboarded::new(credential);
            if self.arguments.service.is_none() && !self.arguments.all {
                let trial = self.try_out(credential).await;
                result.trial = Some(trial).filter(|trial| matches!(trial, Trial::Good { .. }));
            }
            if self.stop.is_cancelled() {
                return Ok(Done::NotGood);
            }
            if result.trial.is_none() {
                result.problem = self.one(credential, &mut result).await.err();
            }
            self.print(&result)?;
            good &= result.is_good();
        }
        Ok(Done::when(good))
    }

    /// Onboards a credential. An error is the reason why nothing was stored.
    async fn one(&self, credential: &Credential, result: &mut Onboarded) -> Result<(), String> {
        let login = self.log_in(credential).await?;
        result.by = Some(login.credkey.clone());
        // Never cut short: the login would live on, and nobody would know what is stored.
        result.refresh_token_expires = store::store(&self.client, credential, &login).await?;
        result.stored = true;
        let name = grants::name(credential);
        complain([format!(
            "refresh token {name} is stored at Vault, and is tried now"
        )]);
        result.trial = Some(self.try_out(credential).await);
        let notified = self.notify(credential, result.refresh_token_expires);
        if let Err(failure) = notified.await {
            complain(failure.lines);
            complain(["so the service does not know of it; it tries again within ten minutes"]);
        }
        Ok(())
    }

    async fn try_out(&self, credential: &Credential) -> Trial {
        try_out(&*self.vault, credential, SystemClock.now(), &self.stop).await
    }

    /// Has a person log in.
    async fn log_in(&self, credential: &Credential) -> Result<Box<OidcLogin>, String> {
        let mut flow = self
            .client
            .start_device_flow(&credential.issuer, &credential.role)
            .await
            .map_err(|error| run_again(&error.to_string()))?;
        let code = show::code(&flow);
        if self.arguments.output.json {
            let link = json!({
                "event": "log_in", "account": credential.identity.account,
                "service": credential.service, "url": flow.url, "user_code": code,
            });
            print(&format!("{link}\n")).map_err(|failure| failure.lines.concat())?;
        } else {
            let terminal = Term::stderr();
            let screen = terminal.is_term().then(|| terminal.size());
            let shown = show::invitation(credential, &flow.url, code.as_deref(), screen);
            let _ = io::stderr().lock().write_all(shown.as_bytes());
        }
        let bar = progress::bar("{spinner} waiting for the login ({elapsed}, Ctrl-C ends it)");
        let pause = flow.interval;
        let poll = async || {
            let answer = self.client.poll(&mut flow).await;
            (answer, flow.interval)
        };
        let show = |error: &_| {
            bar.suspend(|| complain([format!("still waiting: {error}")]));
        };
        let login = wait::wait(poll, pause, self.arguments.wait, &self.stop, show).await;
        bar.finish_and_clear();
        login
    }

    /// Notifies the running service of a new refresh token; without one, its age is stored here.
    async fn notify(
        &self,
        credential: &Credential,
        expires: Option<Timestamp>,
    ) -> Result<(), CommandError> {
        let executor = Executor::find(self.global).await?;
        let notice = OnboardedNotice {
            account: credential.identity.account.clone(),
            service: credential.service.clone(),
            expires,
        };
        let command = |answer| Command::Onboarded(notice.selection(), expires, answer);
        let noted = executor.order("onboarded", &notice, command).await?;
        match noted.fault {
            Some(fault) => complain([format!(
                "the age of the refresh token is not stored: {fault}"
            )]),
            None if executor.is_service() => complain(["the service tries it at once"]),
            None => {}
        }
        Ok(())
    }

    fn print(&self, result: &Onboarded) -> Result<(), CommandError> {
        if !self.arguments.output.json {
            let text = wrapped(&result.text(), width(&Term::stdout()));
            return print(&text);
        }
        // Only strings, times and lists of them: this always makes JSON.
        let value = serde_json::to_value(result).unwrap_or_default();
        print(&format!("{value}\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{config, delivery};
    use crate::model::delivery::Target;

    #[test]
    fn a_credential_is_onboarded_once_whatever_schedds_it_goes_to() {
        let at = |account: &str, service: &str, schedd: &str| {
            let target = Target::Directory("/d".into());
            delivery(account, service, schedd, target)
        };
        let config = config(vec![
            at("cmsprod", "cms", "a"),
            at("cmsprod", "cms", "b"),
            at("cmsprod", "cms_production", "a"),
            at("crabtw", "cms_crab", "a"),
        ]);
        let services = |account: &str, service: Option<&str>| {
            let selection = Selection {
                account: Some(account.to_owned()),
                service: service.map(str::to_owned),
                schedd: None,
            };
            let found = credentials(&config, &selection);
            let found = found.map_err(|error| error.lines.concat());
            found.map(|found| found.iter().map(|c| c.service.clone()).collect::<Vec<_>>())
        };
        assert_eq!(
            services("cmsprod", None).unwrap(),
            ["cms", "cms_production"]
        );
        assert_eq!(services("cmsprod", Some("cms")).unwrap(), ["cms"]);
        assert_eq!(
            services("cmsprod", Some("cms_crab")).unwrap_err(),
            "there are such names, but no delivery has all of them"
        );
        assert_eq!(
            services("cmsprot", None).unwrap_err(),
            "no delivery has account \"cmsprot\"; did you mean \"cmsprod\"?"
        );
    }
}
