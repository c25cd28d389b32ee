//! From start to end: the process's own safety, its configuration, its log, its signals.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use htvault::clock::{Clock as _, SystemClock};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, umask};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::old::cli::{self, Cli};
use crate::old::condor_config::{self, Source, Values};
use crate::old::daemon::{Command, Configuration, Daemon};
use crate::old::log::{Detail, Log};
use crate::old::metrics_server::MetricsServer;
use crate::old::privileges;
use crate::old::settings::Settings;
use crate::old::source::VaultSource;
use crate::old::status_command;
use crate::old::workers::Workers;

/// What HTCondor's master takes for "cannot write my log".
const LOG_NOT_WRITABLE: u8 = 44;

/// Least time between two readings of the configuration: the credd sends SIGHUP for each credential
/// that is stored, and means the directory.
const REREAD: Duration = Duration::from_secs(5);

/// Keeps secrets out of core dumps and of other processes' sight. Nothing here is worth failing for.
pub fn protect() {
    umask(Mode::from_bits_truncate(0o022));
    let outcomes = [
        setrlimit(Resource::RLIMIT_CORE, 0, 0),
        nix::sys::prctl::set_dumpable(false),
        nix::sys::prctl::set_no_new_privs(),
    ];
    for error in outcomes.into_iter().filter_map(Result::err) {
        eprintln!("condor_credmon_htvault: a protection of the process is missing: {error}");
    }
}

/// Runs the daemon, or what else is asked for.
///
/// # Errors
/// Signals cannot be received.
pub async fn run(cli: Cli, workers: &Workers) -> anyhow::Result<ExitCode> {
    if let Some(cli::Command::Status(args)) = &cli.command {
        return Ok(status_command::run(&cli.name, args, SystemClock.now()).await);
    }
    let here = nix::unistd::gethostname()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let (values, source) = condor_config::read(&cli.name).await;
    let (settings, complaints) = Settings::new(&values, &cli.name, &here);

    let terminal = cli.log_file.as_deref() == Some(Path::new("-"));
    let file = match &cli.log_file {
        _ if terminal => None,
        Some(file) => Some(file.as_path()),
        None => settings.log.as_deref(),
    };
    let log = match Log::open(file, cli.verbose, SystemClock) {
        Ok(log) => log,
        Err(error) => {
            let file = file.unwrap_or(Path::new("")).display();
            eprintln!("condor_credmon_htvault: log {file} cannot be written: {error}");
            if !cli.verbose {
                return Ok(ExitCode::from(LOG_NOT_WRITABLE));
            }
            Log::open(None, true, SystemClock).context("log on the terminal")?
        }
    };
    log.install(Detail {
        renewals: cli.verbose,
        debug: cli.debug || settings.full_debug,
    });
    tracing::info!(
        "condor_credmon_htvault {} starts as {}, process {}",
        env!("CARGO_PKG_VERSION"),
        cli.name,
        std::process::id()
    );
    tell(&source, &complaints);

    let configuration = configuration(&cli, &settings, None);
    let source_of_tokens = Arc::clone(&configuration.source);
    let log_file = log.path();
    let places = give_up(&settings, written(&configuration, log_file.as_deref()));
    let renewals = workers.start();
    let prepared = Arc::clone(&source_of_tokens);
    // On a thread that will need them: a helper's would be one more, with memory of its own.
    renewals.idlest().spawn(async move { prepared.prepare() });
    let followed = log.clone();
    let follow = move || followed.follow();
    let daemon = Daemon::new(configuration, Arc::new(SystemClock), follow).renew_on(renewals);
    let signals = Signals::new()?;
    let reader = Reader {
        cli: &cli,
        here: &here,
        known: (values, source),
        places,
        log_file,
        metrics: None,
        tokens: source_of_tokens,
    };
    let (commands, received) = mpsc::channel(8);
    if cli.once {
        let good = tokio::select! {
            good = daemon.run_once() => good,
            () = signals.until_stopped(reader, &commands) => false,
        };
        return Ok(ExitCode::from(u8::from(!good)));
    }
    let mut reader = reader;
    reader.tell_metrics(&settings, &commands).await;
    tokio::join!(
        daemon.run(received),
        signals.until_stopped(reader, &commands),
    );
    Ok(ExitCode::SUCCESS)
}

fn configuration(
    cli: &Cli,
    settings: &Settings,
    known: Option<&Arc<VaultSource>>,
) -> Configuration<VaultSource> {
    let kept = known.filter(|source| source.is_of(&settings.tls, settings.limit));
    let new = || Arc::new(VaultSource::new(settings.tls.clone(), settings.limit));
    Configuration {
        directory: cli.cred_dir.clone().or_else(|| settings.directory.clone()),
        rules: settings.rules.clone(),
        source: kept.cloned().unwrap_or_else(new),
        views: settings.views.clone(),
        copies: settings.copies.clone(),
    }
}

/// The files and directories that this process makes.
fn written<'c>(
    configuration: &'c Configuration<VaultSource>,
    log: Option<&'c Path>,
) -> impl Iterator<Item = &'c Path> {
    let directory = configuration.directory.as_deref().into_iter();
    let copies = configuration.copies.iter().map(|copy| copy.path.as_path());
    directory
        .chain(log)
        .chain(configuration.views.files())
        .chain(copies)
}

/// Gives up what the work does not need. Returns where may be written from now on; `None` for
/// everywhere.
fn give_up<'p>(settings: &Settings, paths: impl Iterator<Item = &'p Path>) -> Option<Vec<PathBuf>> {
    if !settings.confine {
        tracing::warn!("CREDMON_HTVAULT_CONFINE is false: the process keeps all its rights");
        return None;
    }
    if let Err(words) = privileges::drop_capabilities() {
        tracing::warn!("the process keeps more rights than it needs: {words}");
    }
    let places = privileges::places(paths);
    if let Some(words) = privileges::shortcoming(&privileges::confine(&places)) {
        tracing::info!("{words}");
    }
    Some(places)
}

/// Says what is odd with the configuration.
fn tell(source: &Source, complaints: &[String]) {
    match source {
        Source::Condor => {}
        Source::Environment => tracing::warn!(
            "condor_config_val is not installed: the configuration is taken from _CONDOR_… in the \
             environment alone"
        ),
        Source::Failed(why) => tracing::error!(
            "condor_config_val failed ({why}): the configuration is taken from _CONDOR_… in the \
             environment alone"
        ),
    }
    for complaint in complaints {
        tracing::error!("{complaint}");
    }
}

/// The signals that HTCondor sends.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    quit: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("signals cannot be received");
        Ok(Self {
            hangup: on(SignalKind::hangup())?,
            terminate: on(SignalKind::terminate())?,
            quit: on(SignalKind::quit())?,
            interrupt: on(SignalKind::interrupt())?,
        })
    }

    /// Passes on what signals mean until one means the end.
    async fn until_stopped(
        mut self,
        mut reader: Reader<'_>,
        commands: &mpsc::Sender<Command<VaultSource>>,
    ) {
        let mut read_last = Instant::now();
        let mut read_next: Option<Instant> = None;
        loop {
            let read_at = read_next.unwrap_or(read_last + REREAD);
            let name = tokio::select! {
                _ = self.hangup.recv() => {
                    tracing::debug!("SIGHUP: looks at the directory and the configuration");
                    // A full queue means that a look is coming anyway.
                    let _ = commands.try_send(Command::Look);
                    read_next.get_or_insert_with(|| Instant::now().max(read_last + REREAD));
                    continue;
                }
                () = tokio::time::sleep_until(read_at), if read_next.is_some() => {
                    read_next = None;
                    if let Some(new) = reader.reread(commands).await {
                        let _ = commands.send(Command::Configure(Box::new(new))).await;
                    }
                    read_last = Instant::now();
                    continue;
                }
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.quit.recv() => "SIGQUIT",
                _ = self.interrupt.recv() => "SIGINT",
            };
            tracing::info!("{name}: ends");
            let _ = commands.send(Command::Stop).await;
            return;
        }
    }
}

/// Reads the configuration again.
struct Reader<'c> {
    cli: &'c Cli,
    here: &'c str,
    known: (Values, Source),
    /// Where this process may write.
    places: Option<Vec<PathBuf>>,
    log_file: Option<PathBuf>,
    metrics: Option<MetricsServer>,
    tokens: Arc<VaultSource>,
}

impl Reader<'_> {
    /// Tells the metrics by HTTP, where that is configured.
    async fn tell_metrics(
        &mut self,
        settings: &Settings,
        commands: &mpsc::Sender<Command<VaultSource>>,
    ) {
        let wanted = settings.views.metrics_address;
        if wanted == self.metrics.as_ref().map(MetricsServer::address) {
            return;
        }
        self.metrics = None;
        let Some(address) = wanted else {
            return;
        };
        let commands = commands.clone();
        let text = move || {
            let commands = commands.clone();
            async move {
                let (answer, text) = oneshot::channel();
                commands.send(Command::Metrics(answer)).await.ok()?;
                text.await.ok()
            }
        };
        match MetricsServer::start(address, text).await {
            Ok(server) => self.metrics = Some(server),
            Err(error) => tracing::error!(
                "metrics are not told by HTTP, for {address} cannot be listened on: {error}"
            ),
        }
    }

    /// What is new. When HTCondor's tool fails, the configuration that is known stays in force.
    async fn reread(
        &mut self,
        commands: &mpsc::Sender<Command<VaultSource>>,
    ) -> Option<Configuration<VaultSource>> {
        let (values, source) = condor_config::read(&self.cli.name).await;
        if let Source::Failed(why) = &source {
            tracing::error!(
                "condor_config_val failed ({why}): the configuration is kept as it was"
            );
            return None;
        }
        if (&values, &source) == (&self.known.0, &self.known.1) {
            return None;
        }
        let (settings, complaints) = Settings::new(&values, &self.cli.name, self.here);
        tell(&source, &complaints);
        self.known = (values, source);
        self.tell_metrics(&settings, commands).await;
        let new = configuration(self.cli, &settings, Some(&self.tokens));
        self.tokens = Arc::clone(&new.source);
        let paths = written(&new, self.log_file.as_deref());
        for path in privileges::outside(
            self.places.as_deref().unwrap_or(&[Path::new("/").into()]),
            paths,
        ) {
            tracing::error!(
                "{} lies where this process gave up to write when it started: restart it \
                 (condor_restart -daemon {})",
                path.display(),
                self.cli.name
            );
        }
        Some(new)
    }
}
