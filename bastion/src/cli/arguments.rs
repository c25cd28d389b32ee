//! The command line: commands and options.
//!
//! Always true: data goes to standard output, everything else to standard error. Exit codes: 0 all good; 1
//! something is not good; 2 wrong usage or configuration.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueHint};

use super::examples::examples;
use super::output::Output;
use super::{CommandError, Done};
use crate::api;
use crate::config::{self, Config, Watch};
use crate::engine::real::{LAST_WAIT, runtime};
use crate::model::delivery::Selection;
use crate::system::logs::Log;

/// Keeps the credentials of unattended accounts valid at every HTCondor schedd.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = examples!("check", "run", "status --watch"))]
pub struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Configuration file; config.d/*.yaml beside it is read too.
    #[arg(long, global = true, value_name = "FILE", default_value = config::DEFAULT_FILE)]
    pub(crate) config: PathBuf,
    /// The running service's socket, instead of the one that the configuration names.
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// More details in the log; twice for those of libraries.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service.
    #[command(after_help = examples!("run", "--config /etc/token-bastion/test.yaml -v run"))]
    Run,
    /// Attempt every delivery once, and print the state of each.
    #[command(after_help = examples!("once", "once --json"))]
    Once(Output),
    /// Check the configuration and this host's files; nothing is asked over the network.
    #[command(after_help = examples!("check", "--config new.yaml check --json"))]
    Check(Output),
    /// Print the state of every delivery, as the running service reports it.
    #[command(after_help = examples!(
        "status --watch",
        "status --account crabtw --schedd ap1.example.org --min-life 20m",
    ))]
    Status(super::status::StatusArguments),
    /// Check everything that deliveries depend on, step by step, and print what to do. Nothing is
    /// changed; the keytabs must be readable.
    #[command(after_help = examples!("doctor", "doctor --account crabtw"))]
    Doctor(SelectionArguments),
    /// Print the next step for every delivery, with its reason and time.
    #[command(after_help = examples!("plan", "plan --schedd ap1.example.org"))]
    Plan(SelectionArguments),
    /// Have somebody log in for an account, so that Vault has a refresh token for it.
    #[command(after_help = examples!(
        "onboard --account crabtw",
        "onboard --account crabtw --service cms_crab --wait 1h",
    ))]
    Onboard(super::onboard::OnboardArguments),
    /// Revoke deliveries: revoke their vault tokens, delete the credentials at the schedd.
    #[command(
        override_usage = "token-bastion revoke --account <NAME> --schedd <HOST> [OPTIONS]\n       \
            token-bastion revoke --all-at <HOST> [OPTIONS]",
        after_help = examples!(
            "revoke --account crabtw --schedd ap1.example.org",
            "revoke --all-at ap1.example.org",
        )
    )]
    Revoke(super::revoke::RevokeArguments),
    /// Remove an account: revoke all its deliveries, delete its refresh tokens at Vault.
    #[command(after_help = examples!("offboard --account crabtw --dry-run", "offboard --account crabtw"))]
    Offboard(super::offboard::OffboardArguments),
    /// Have the running service push new vault tokens now, and wait until they are good.
    #[command(after_help = examples!("push", "push --account crabtw --service cms_crab"))]
    Push(SelectionArguments),
    /// Have the running service retry failed deliveries now.
    #[command(after_help = examples!("retry", "retry --schedd ap1.example.org"))]
    Retry(SelectionArguments),
    /// Have the running service read its configuration again, and print the changes.
    #[command(after_help = examples!("reload --dry-run", "reload"))]
    Reload(super::reload::ReloadArguments),
    /// Print the JSON schema of the configuration, for editors.
    #[command(after_help = examples!("schema > token-bastion.schema.json", "schema --control"))]
    Schema {
        #[arg(
            long,
            help = "Print the schema of the control socket instead, an OpenAPI document"
        )]
        control: bool,
    },
    /// Print a script for a shell that completes the arguments of this program.
    #[command(after_help = examples!(
        "completions bash > /etc/bash_completion.d/token-bastion",
    ))]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Selected deliveries, all of them when nothing is named, and the output format.
#[derive(Clone, Debug, Args)]
pub(crate) struct SelectionArguments {
    /// Only this account.
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Other)]
    account: Option<String>,
    /// Only this service.
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Other)]
    service: Option<String>,
    /// Only this schedd.
    #[arg(long, value_name = "HOST", value_hint = ValueHint::Other)]
    schedd: Option<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

impl SelectionArguments {
    /// Returns the selection, as the service takes it.
    pub(crate) fn selection(&self) -> Selection {
        Selection {
            account: self.account.clone(),
            service: self.service.clone(),
            schedd: self.schedd.clone(),
        }
    }
}

impl Cli {
    /// Starts the log. Most commands do not log their progress: they only print their result.
    #[must_use]
    pub fn start_log(&self) -> Log {
        let is_service = matches!(self.command, Command::Run);
        let logs_progress = is_service || matches!(self.command, Command::Once(_));
        Log::init(self.global.verbose, logs_progress, is_service)
    }

    /// Executes the command. `service` runs with a configuration, which was read from a file that is watched, until it
    /// is stopped.
    #[must_use]
    pub fn execute(
        &self,
        service: impl AsyncFnOnce(Config, &Path, Watch) -> anyhow::Result<()>,
    ) -> ExitCode {
        let execute = || {
            let runtime = runtime()?;
            let result = runtime.block_on(Box::pin(self.try_execute(service)));
            runtime.shutdown_timeout(LAST_WAIT);
            result
        };
        super::exit_code(execute())
    }

    async fn try_execute(
        &self,
        service: impl AsyncFnOnce(Config, &Path, Watch) -> anyhow::Result<()>,
    ) -> Result<Done, CommandError> {
        let global = &self.global;
        match &self.command {
            Command::Run => {
                let watch = Watch::begin(&global.config);
                service(global.load()?, &global.config, watch).await?;
                Ok(Done::Good)
            }
            Command::Once(output) => super::once::once(global.load()?, *output).await,
            Command::Check(output) => super::check::check(global.load(), *output).await,
            Command::Doctor(arguments) => super::doctor::doctor(&global.load()?, arguments).await,
            Command::Status(arguments) => super::status::status(global, arguments).await,
            Command::Plan(arguments) => super::plan::plan(global, arguments).await,
            Command::Onboard(arguments) => super::onboard::onboard(global, arguments).await,
            Command::Revoke(arguments) => super::revoke::revoke(global, arguments).await,
            Command::Offboard(arguments) => super::offboard::offboard(global, arguments).await,
            Command::Push(arguments) => super::push::push(global, arguments).await,
            Command::Retry(arguments) => super::push::retry(global, arguments).await,
            Command::Reload(arguments) => super::reload::reload(global, arguments).await,
            Command::Schema { control } => super::print_json(&if *control {
                api::schema::schema()
            } else {
                config::schema()
            })
            .map(|()| Done::Good),
            Command::Completions { shell } => super::completions::completions(*shell),
        }
    }
}

impl Global {
    /// Loads the configuration.
    ///
    /// # Errors
    /// All its faults.
    pub(crate) fn load(&self) -> Result<Config, CommandError> {
        config::load(&self.config).map_err(|faults| CommandError::wrong(faults.iter()))
    }

    /// Path of the running service's socket. Faults of a configuration that the service does not use yet are no error
    /// here, nor is a configuration that this user may not read.
    ///
    /// # Errors
    /// A configuration file that was named on the command line is missing.
    pub(crate) fn socket(&self) -> Result<PathBuf, CommandError> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        let is_named = self.config != Path::new(config::DEFAULT_FILE);
        if is_named && matches!(self.config.try_exists(), Ok(false)) {
            self.load()?;
        }
        let written = config::written_control(&self.config);
        Ok(written.unwrap_or_else(|| config::DEFAULT_CONTROL.into()))
    }
}
