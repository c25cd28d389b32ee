//! How each action is done to the parts, and undone.
//!
//! What always holds: what [`begin`] did, [`end`] undoes, whatever else happened meanwhile; an order is given by the
//! command that people use, and nobody waits for its answer here.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nix::sys::signal::{Signal, kill};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::action::{Action, Part, Target};
use super::stage::{LIVES, Stage};
use crate::chain::ACCOUNTS;
use crate::ended;
use crate::kdc::REALM;
use crate::process::Daemon;
use crate::wait;

const QUOTA: &str = "sys/quotas/rate-limit/all";

/// An order that was given, and what came of it.
#[derive(Debug)]
pub struct Given {
    /// The order.
    pub action: Action,
    /// Whether the command said that all is done.
    pub is_done: bool,
    /// What it said.
    pub said: String,
}

/// Orders under way.
pub type Orders = JoinSet<anyhow::Result<Given>>;

/// Begins an action.
pub async fn begin(stage: &mut Stage, orders: &mut Orders, action: Action) -> anyhow::Result<()> {
    match action {
        Action::Kill(part) => stop(stage, part, Signal::SIGKILL).await?,
        Action::Terminate(part) => stop(stage, part, Signal::SIGTERM).await?,
        Action::Suspend(part) => signal(stage, part, Signal::SIGSTOP)?,
        Action::LdapDown => stage.site.ldap.close().await,
        Action::LdapHangs => stage.site.ldap.hang(true),
        Action::Seal => stage.site.bao.seal(0).await?,
        Action::Quota => {
            let quota = json!({"rate": 1, "interval": "5s", "block_interval": "5s"});
            stage.site.bao.api.write(QUOTA, quota).await?;
        }
        Action::Cut => stage.relay.cut(true),
        Action::Delay(milliseconds) => stage
            .relay
            .delay(Duration::from_millis(milliseconds.into())),
        Action::FullState => stage.state_folder.fill(true)?,
        Action::FullCredentials(schedd) => stage.schedd(schedd)?.host()?.0.fill(true)?,
        Action::ReadOnly(schedd) => stage.schedd(schedd)?.host()?.0.read_only(true)?,
        Action::BastionClock(ahead) => stage.bastion_clock.set(ahead.into())?,
        Action::CredmonClock(schedd, ahead) => stage.schedd(schedd)?.host()?.1.set(ahead.into())?,
        Action::Certificate => stage.site.bao.renew_certificate(&stage.site.chain.ca)?,
        Action::Keytab(account) => new_key(stage, account).await?,
        Action::RevokedToken(target) => revoke_token(stage, target).await?,
        Action::Push | Action::Retry | Action::Reload => {
            let command = action.kind();
            order(stage, orders, action, &[command.as_str()])?;
        }
        Action::Revoke(target) => revoke(stage, orders, action, target)?,
        Action::RevokeWithoutVault(target) => {
            stage.site.bao.seal(0).await?;
            revoke(stage, orders, action, target)?;
        }
        Action::BrokenConfiguration => _ = stage.configure("accounts: {cmsprod: [\n")?,
        Action::DroppedAccount(account) => _ = stage.configure(&stage.yaml(Some(account)))?,
        Action::StopInPush(later) | Action::KillInPush(later) => {
            order(stage, orders, action, &["push"])?;
            wait::pass(Duration::from_millis(later.into())).await;
            let how = if matches!(action, Action::StopInPush(_)) {
                Signal::SIGTERM
            } else {
                Signal::SIGKILL
            };
            stop(stage, Part::Bastion, how).await?;
        }
    }
    Ok(())
}

/// Ends an action.
pub async fn end(stage: &mut Stage, action: Action) -> anyhow::Result<()> {
    match action {
        Action::Kill(part) | Action::Terminate(part) => start(stage, part).await?,
        Action::Suspend(part) => signal(stage, part, Signal::SIGCONT)?,
        Action::LdapDown => stage.site.ldap.open().await?,
        Action::LdapHangs => stage.site.ldap.hang(false),
        Action::Seal | Action::RevokeWithoutVault(_) => stage.site.bao.unseal(0).await?,
        Action::Quota => {
            let api = &stage.site.bao.api;
            api.call(Method::DELETE, QUOTA, &Value::Null).await?;
        }
        Action::Cut => stage.relay.cut(false),
        Action::Delay(_) => stage.relay.delay(Duration::ZERO),
        Action::FullState => stage.state_folder.fill(false)?,
        Action::FullCredentials(schedd) => stage.schedd(schedd)?.host()?.0.fill(false)?,
        Action::ReadOnly(schedd) => stage.schedd(schedd)?.host()?.0.read_only(false)?,
        Action::BastionClock(_) => stage.bastion_clock.set(0)?,
        Action::CredmonClock(schedd, _) => stage.schedd(schedd)?.host()?.1.set(0)?,
        Action::Keytab(account) => {
            let keytab = keytab_of(stage, account)?;
            fs::rename(keytab.with_extension("new"), keytab).context("the new keytab")?;
        }
        Action::BrokenConfiguration | Action::DroppedAccount(_) => {
            stage.configure(&stage.yaml(None))?;
        }
        Action::StopInPush(_) | Action::KillInPush(_) => start(stage, Part::Bastion).await?,
        Action::Certificate
        | Action::RevokedToken(_)
        | Action::Push
        | Action::Retry
        | Action::Reload
        | Action::Revoke(_) => {}
    }
    Ok(())
}

async fn stop(stage: &mut Stage, part: Part, how: Signal) -> anyhow::Result<()> {
    signal(stage, part, how)?;
    match part {
        Part::Vault => stage.site.bao.stop(0).await,
        Part::Kdc => stage.site.chain.kdc.stop().await,
        Part::Issuer => stage.site.chain.vault.stop().await.map(drop),
        Part::Bastion => ended(stage.bastion.take()).await,
        Part::Credmon(schedd) => stage.schedd(schedd)?.credmon_ended().await,
        // Its master starts it anew.
        Part::Credd(_) => Ok(()),
    }
}

async fn ended(daemon: Option<Daemon>) -> anyhow::Result<()> {
    match daemon {
        Some(mut daemon) => daemon.stop().await.map(drop),
        None => Ok(()),
    }
}

async fn start(stage: &mut Stage, part: Part) -> anyhow::Result<()> {
    match part {
        Part::Vault => stage.site.bao.resume(0).await,
        Part::Kdc => stage.site.chain.kdc.resume().await,
        Part::Issuer => stage.site.chain.restart_vault().await,
        Part::Bastion => stage.start_bastion(),
        Part::Credmon(schedd) => stage.start_credmon(schedd),
        Part::Credd(_) => Ok(()),
    }
}

fn signal(stage: &mut Stage, part: Part, signal: Signal) -> anyhow::Result<()> {
    let pid = match part {
        Part::Vault => Some(stage.site.bao.pid(0)?),
        Part::Kdc => stage.site.chain.kdc.daemon().map(Daemon::pid),
        Part::Issuer => Some(stage.site.chain.vault.pid()),
        Part::Bastion => stage.bastion.as_ref().map(Daemon::pid),
        Part::Credmon(schedd) => return stage.schedd(schedd)?.signal_credmon(signal),
        Part::Credd(schedd) => return stage.schedd(schedd)?.signal_credd(signal),
    };
    let pid = pid.with_context(|| format!("{part:?} does not run"))?;
    kill(pid, signal).with_context(|| format!("{signal} for {part:?}"))
}

fn keytab_of(stage: &Stage, account: usize) -> anyhow::Result<std::path::PathBuf> {
    let account = ACCOUNTS.get(account).context("an account's number")?;
    Ok(stage
        .site
        .chain
        .keytabs()
        .join(format!("{}.keytab", account.name)))
}

/// Gives an account a new key. Its keytab comes later.
async fn new_key(stage: &Stage, account: usize) -> anyhow::Result<()> {
    let keytab = keytab_of(stage, account)?.with_extension("new");
    let name = ACCOUNTS.get(account).context("an account's number")?.name;
    let query = format!("ktadd -k {} {name}@{REALM}", keytab.display());
    stage.site.chain.kdc.admin(&query).await?;
    ensure!(keytab.exists(), "the KDC wrote no keytab");
    Ok(())
}

/// Revokes the token that a delivery has, by Vault's admin. There may be none at this moment.
async fn revoke_token(stage: &Stage, target: Target) -> anyhow::Result<()> {
    if let Some(token) = stage.vault_token(target)? {
        let body = json!({"token": token.expose()});
        // A Vault that is away revokes nothing.
        let _ = stage.site.bao.api.write("auth/token/revoke", body).await;
    }
    Ok(())
}

fn revoke(
    stage: &Stage,
    orders: &mut Orders,
    action: Action,
    target: Target,
) -> anyhow::Result<()> {
    let mut arguments = vec!["revoke"];
    arguments.extend(stage.layout.selection(target)?);
    order(stage, orders, action, &arguments)
}

fn order(
    stage: &Stage,
    orders: &mut Orders,
    action: Action,
    arguments: &[&str],
) -> anyhow::Result<()> {
    let command = stage.command(arguments)?;
    orders.spawn(async move {
        let output = command.await?;
        Ok(Given {
            action,
            is_done: output.status.success(),
            said: ended::text(&output),
        })
    });
    Ok(())
}

/// Has a delivery made again that was revoked.
pub async fn deliver_again(stage: &Stage, target: Target) -> anyhow::Result<()> {
    let mut arguments = vec!["push"];
    arguments.extend(stage.layout.selection(target)?);
    let output = stage.command(&arguments)?.await?;
    ensure!(output.status.success(), "{}", ended::text(&output));
    Ok(())
}

/// Has everything pushed, whatever comes of it.
pub async fn push(stage: &Stage) -> anyhow::Result<()> {
    stage.command(&["push"])?.await.map(drop)
}

/// How long tokens carry jobs over an outage.
pub const CARRIED: Duration = Duration::from_secs(LIVES.access_minimum);
