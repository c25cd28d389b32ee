//! A schedd: a credential directory with a credmon on this host, or a real HTCondor pool, whose master starts the
//! credmon and the credd anew when they end.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::file_system::SmallFileSystem;
use super::stage::LIVES;
use crate::chain::{Chain, installed};
use crate::hostile::clock::FalseClock;
use crate::pool::Pool;
use crate::process::Daemon;

/// A schedd.
pub struct Schedd {
    /// Its name.
    pub name: &'static str,
    place: Place,
}

enum Place {
    Directory(Box<Directory>),
    Pool(Box<Pool>),
}

struct Directory {
    credmon: Option<Daemon>,
    clock: FalseClock,
    file_system: SmallFileSystem,
    own: PathBuf,
}

impl Schedd {
    /// A credential directory below `folder`, with a credmon.
    pub fn directory(name: &'static str, folder: &Path, chain: &Chain) -> anyhow::Result<Self> {
        let own = folder.join(name);
        fs::create_dir_all(&own)?;
        let directory = Directory {
            credmon: None,
            clock: FalseClock::new(&own)?,
            file_system: SmallFileSystem::mount(&own.join("oauth_credentials"), 0o2770)?,
            own,
        };
        let mut schedd = Self {
            name,
            place: Place::Directory(Box::new(directory)),
        };
        schedd.start_credmon(chain)?;
        Ok(schedd)
    }

    /// A pool on the host with this name.
    pub async fn pool(name: &'static str, folder: &Path, chain: &Chain) -> anyhow::Result<Self> {
        let mut options = installed::pool_options(chain)?;
        name.clone_into(&mut options.host);
        let refresh = LIVES.access_token / 3;
        options
            .configuration
            .push(format!("CREDMON_OAUTH_TOKEN_REFRESH = {refresh}"));
        let pool = Pool::start(&folder.join(name), &chain.ca, &options).await?;
        Ok(Self {
            name,
            place: Place::Pool(Box::new(pool)),
        })
    }

    /// The folder with its credentials.
    #[must_use]
    pub fn credentials(&self) -> PathBuf {
        match &self.place {
            Place::Directory(directory) => directory.file_system.folder().to_owned(),
            Place::Pool(pool) => pool.credentials(),
        }
    }

    /// What the bastion's configuration says of it.
    #[must_use]
    pub fn group(&self) -> String {
        match &self.place {
            Place::Directory(_) => format!("directory: {}", self.credentials().display()),
            Place::Pool(pool) => format!("collector: \"{}\"", pool.collector()),
        }
    }

    /// Its pool, if it is one.
    #[must_use]
    pub fn as_pool(&self) -> Option<&Pool> {
        match &self.place {
            Place::Directory(_) => None,
            Place::Pool(pool) => Some(pool),
        }
    }

    /// The file system of its credentials, and its clock.
    pub fn host(&self) -> anyhow::Result<(&SmallFileSystem, &FalseClock)> {
        match &self.place {
            Place::Directory(directory) => Ok((&directory.file_system, &directory.clock)),
            Place::Pool(_) => bail!("{} is a pool", self.name),
        }
    }

    /// Sends a signal to its credmon.
    pub fn signal_credmon(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = match &self.place {
            Place::Directory(directory) => {
                let daemon = directory.credmon.as_ref();
                daemon.context("the credmon does not run")?.pid()
            }
            Place::Pool(pool) => pool.credmon_pid()?,
        };
        send(pid, signal)
    }

    /// Sends a signal to its credd.
    pub fn signal_credd(&self, signal: Signal) -> anyhow::Result<()> {
        let pool = self.as_pool().context("a directory has no credd")?;
        send(pool.process("condor_credd")?, signal)
    }

    /// Waits for the end of a credmon that got a signal.
    pub async fn credmon_ended(&mut self) -> anyhow::Result<()> {
        if let Place::Directory(directory) = &mut self.place
            && let Some(mut credmon) = directory.credmon.take()
        {
            credmon.stop().await?;
        }
        Ok(())
    }

    /// Starts the credmon, unless it runs, or a master does it.
    pub fn start_credmon(&mut self, chain: &Chain) -> anyhow::Result<()> {
        let Place::Directory(directory) = &mut self.place else {
            return Ok(());
        };
        if directory.credmon.is_none() {
            let Directory {
                own,
                clock,
                file_system,
                ..
            } = &**directory;
            let mut command = chain.credmon(file_system.folder())?;
            command
                .env(
                    "_CONDOR_CREDMON_HTVAULT_STATUS_FILE",
                    own.join("status.json"),
                )
                .env(
                    "_CONDOR_CREDMON_OAUTH_TOKEN_REFRESH",
                    (LIVES.access_token / 3).to_string(),
                )
                .envs(clock.variables()?);
            let name = format!("credmon at {}", self.name);
            directory.credmon = Some(Daemon::spawn(&name, command, &own.join("credmon.log"))?);
        }
        Ok(())
    }

    /// The ends of its logs.
    #[must_use]
    pub fn tail(&self) -> String {
        match &self.place {
            Place::Directory(directory) => {
                let tail =
                    |credmon: &Daemon| format!("--- {}\n{}\n", credmon.name(), credmon.tail(25));
                directory.credmon.as_ref().map_or_else(String::new, tail)
            }
            Place::Pool(pool) => pool.logs(15),
        }
    }

    /// Ends it.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.credmon_ended().await?;
        match self.place {
            Place::Directory(_) => Ok(()),
            Place::Pool(pool) => pool.stop().await,
        }
    }
}

fn send(pid: Pid, signal: Signal) -> anyhow::Result<()> {
    kill(pid, signal).with_context(|| format!("{signal} for process {pid}"))
}
