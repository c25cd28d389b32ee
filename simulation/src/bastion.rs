//! The bastion's host: the real engine with a Vault and credds that are simulated.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bastion::config::{Config, Search};
use bastion::engine::attempt::Parts;
use bastion::engine::{Command, Engine, Reports};
use bastion::model::delivery::{Credential, Delivery, Identity};
use bastion::model::problem::{Cause, Kind, Problem, Request};
use bastion::model::records::Life;
use bastion::schedd::discovery::{FoundSchedds, ScheddAd};
use bastion::schedd::{Observation, Transport};
use bastion::simulation::{OpenerTokens, SavedState, parts, parts_anew, vault_token_of};
use bastion::vault::{AccessKind, Login, OwnedToken, Vault};
use htvault::clock::Clock as _;
use htvault::{AccessToken, AccessTokenAnswer, Claims, ErrorKind, IssuedToken, VaultToken};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use secrecy::SecretString;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::schedd::Schedd;
use crate::world::{Client, World};
use crate::{Site, account_name, schedd_name, schedd_number};

/// Requests at a time, as the service's own client has them.
const AT_A_TIME: usize = 8;
/// Least life of an access token that is of use, in seconds, as the service's own client has it.
const ENOUGH: u64 = 30;
/// Time of an exchange with a credd in HTCondor's protocol: between a full authentication and a session that is resumed.
const EXCHANGE: Duration = Duration::from_millis(5);
/// Time after which a credd that crashed is up again.
const CREDD_RESTART: Duration = Duration::from_mins(1);

/// The service, while it runs.
pub(crate) struct Service {
    pub(crate) commands: mpsc::Sender<Command<Asked, Credds>>,
    pub(crate) reports: Reports,
    parts: Arc<Parts<Asked, Credds>>,
    engine: JoinHandle<()>,
}

/// The configuration of a site, as an admin writes it.
pub(crate) fn configuration(site: Site) -> anyhow::Result<Config> {
    let schedds: Vec<String> = (0..site.schedds).map(schedd_name).collect();
    let accounts = (0..site.accounts).map(|account| {
        let name = account_name(account);
        format!("  {name}: {{schedds: [pool], credentials: {{cms: {{}}}}}}\n")
    });
    let text = format!(
        "vault: {{address: 'https://htvault.example.org:8200'}}\n\
         defaults: {{principal: '{{account}}@EXAMPLE.ORG', keytab: '/keytabs/{{account}}.keytab'}}\n\
         schedule: {{check: '0 * * * *', spread: 30m}}\n\
         schedds: {{pool: {{credds: [{}], collector: cm.example.org}}}}\n\
         accounts:\n{}",
        schedds.join(", "),
        accounts.collect::<String>()
    );
    let folder = tempfile::tempdir().context("a temporary folder is needed")?;
    let file = folder.path().join("token-bastion.yaml");
    std::fs::write(&file, text).context("the configuration cannot be written")?;
    bastion::config::load(&file).map_err(|faults| anyhow::anyhow!("{faults}"))
}

impl Service {
    /// Starts it with what an earlier one has left.
    pub(crate) fn start(world: &World, config: &Config, state: &SavedState) -> Self {
        let clock = Arc::new(world.bastion_clock().clone());
        let parts = parts(Asked::new(world), clock, state, |openers| Credds {
            world: world.clone(),
            openers,
        });
        let mut engine = Engine::new(config, Arc::clone(&parts), TimeZone::UTC);
        let reports = engine.reports();
        let (commands, received) = mpsc::channel(16);
        let engine = tokio::spawn(async move { engine.run(received).await });
        Self {
            commands,
            reports,
            parts,
            engine,
        }
    }

    /// The command that has it read a configuration anew.
    pub(crate) fn reload(&mut self, world: &World, config: &Arc<Config>) -> Command<Asked, Credds> {
        self.parts = parts_anew(&self.parts, Asked::new(world), |openers| Credds {
            world: world.clone(),
            openers,
        });
        let (answer, _) = tokio::sync::oneshot::channel();
        Command::Reload(Arc::clone(config), Arc::clone(&self.parts), answer)
    }

    /// Stops it in order.
    pub(crate) async fn stop(self) {
        // It has ended already, or it ends by that.
        let _ = self.commands.send(Command::Stop).await;
        let _ = self.engine.await;
    }

    /// Ends it at once, as a crash of its host does.
    pub(crate) fn crash(self) {
        self.engine.abort();
    }
}

/// Vault as the bastion asks it.
pub(crate) struct Asked {
    world: World,
    slots: Semaphore,
}

impl Asked {
    fn new(world: &World) -> Self {
        Self {
            world: world.clone(),
            slots: Semaphore::new(AT_A_TIME),
        }
    }

    /// Sends a request once there is a slot for it.
    async fn in_turn<A>(
        &self,
        credential: &Credential,
        kind: Request,
        request: impl Future<Output = Result<A, ErrorKind>>,
    ) -> Result<A, Problem> {
        let _slot = self.slots.acquire().await;
        request
            .await
            .map_err(|error| problem(credential, error, kind))
    }

    async fn read_with(
        &self,
        credential: &Credential,
        token: &VaultToken,
        at_least: u64,
    ) -> Result<AccessTokenAnswer, Problem> {
        let account = &credential.identity.account;
        let read = self.world.read(Client::Bastion, account, token, at_least);
        let (issued, expires) = self.in_turn(credential, Request::AccessToken, read).await?;
        Ok(AccessTokenAnswer {
            token: AccessToken::from(String::new()),
            claims: Some(Claims {
                issuer: Some("https://issuer.example.org".to_owned()),
                subject: Some(account.clone()),
                issued: Some(issued),
                expires: Some(expires),
                ..Claims::default()
            }),
            expire_time: Some(expires),
            warnings: Vec::new(),
        })
    }
}

/// A failure of Vault, as the service's own client reports it.
fn problem(credential: &Credential, error: ErrorKind, request: Request) -> Problem {
    let (cause, kind) = Problem::charge(credential, (error, error.scope()), request);
    Problem::new(cause, kind, format!("{error:?}"))
}

/// The accessor of a token: its name without what opens something.
fn accessor(token: &VaultToken) -> String {
    token.expose().replace("hvs.", "accessor-")
}

impl Vault for Asked {
    async fn login(&self, credential: &Credential) -> Result<IssuedToken, Problem> {
        if self.world.server().is_kdc_down {
            let cause = Cause::realm(&credential.identity);
            return Err(Problem::new(cause, Kind::KdcDown, "no KDC answers"));
        }
        let login = self.world.login(Client::Bastion);
        let (token, lease_seconds) = self.in_turn(credential, Request::Login, login).await?;
        Ok(IssuedToken {
            accessor: accessor(&token),
            token,
            lease_seconds,
            policies: Vec::new(),
            user: None,
            warnings: Vec::new(),
        })
    }

    async fn issue(
        &self,
        credential: &Credential,
        login: IssuedToken,
        lifetime: Duration,
    ) -> Result<OwnedToken, Problem> {
        let now = self.world.bastion_clock().now();
        let create = self.world.create(Client::Bastion, &login.token, lifetime);
        let token = self
            .in_turn(credential, Request::VaultToken, create)
            .await?;
        Ok(OwnedToken {
            accessor: accessor(&token),
            token,
            parent: Some(Login::from(&login)),
            life: Life::new(now, lifetime),
            server: credential.url.server(),
        })
    }

    async fn read(
        &self,
        credential: &Credential,
        token: &VaultToken,
        _: AccessKind,
    ) -> Result<AccessTokenAnswer, Problem> {
        match self.read_with(credential, token, ENOUGH).await {
            Err(problem) if problem.kind == Kind::IssuerDown => {
                let again = self.read_with(credential, token, 0).await;
                again.map_err(|_| problem)
            }
            answer => answer,
        }
    }

    async fn read_for_jobs(
        &self,
        credential: &Credential,
        token: &VaultToken,
        at_least: Option<Duration>,
    ) -> Result<(AccessTokenAnswer, Option<Problem>), Problem> {
        let Some(at_least) = at_least else {
            let answer = self.read(credential, token, AccessKind::ForJobs).await?;
            return Ok((answer, None));
        };
        let problem = match self.read_with(credential, token, at_least.as_secs()).await {
            Ok(answer) => return Ok((answer, None)),
            Err(problem) => problem,
        };
        if !matches!(problem.kind, Kind::IssuerDown | Kind::NotOnboarded) {
            return Err(problem);
        }
        match self.read_with(credential, token, 0).await {
            Ok(answer) => Ok((answer, Some(problem))),
            Err(_) => Err(problem),
        }
    }

    async fn look_up(
        &self,
        credential: &Credential,
        token: &VaultToken,
    ) -> Result<Option<(Life, String)>, Problem> {
        let look_up = self.world.look_up(Client::Bastion, token);
        let expires = self
            .in_turn(credential, Request::VaultToken, look_up)
            .await?;
        let left = expires.map(|expires| expires.duration_since(self.world.now()));
        let left = left.map(|left| Duration::try_from(left).unwrap_or_default());
        Ok(left.map(|left| {
            (
                Life::new(self.world.bastion_clock().now(), left),
                accessor(token),
            )
        }))
    }

    async fn has_grant(&self, _: &Credential, _: &VaultToken) -> Result<bool, Problem> {
        Ok(true)
    }

    async fn forget_grant(&self, _: &Credential, _: &VaultToken) -> Result<(), Problem> {
        Ok(())
    }

    async fn revoke(&self, credential: &Credential, token: &VaultToken) -> Result<(), Problem> {
        let revoke = self.world.revoke(Client::Bastion, token);
        self.in_turn(credential, Request::VaultToken, revoke).await
    }

    /// Keytabs do not change in the simulated year.
    async fn new_keytab(&self, _: &Identity) {
        std::future::pending::<()>().await;
    }
}

/// The credds of all schedds.
pub(crate) struct Credds {
    world: World,
    openers: OpenerTokens<Asked>,
}

impl Credds {
    /// The schedd of a delivery, if its credd answers and lets us in.
    async fn open(&self, delivery: &Delivery) -> Result<(usize, &Schedd), Problem> {
        self.openers.of(delivery).await?;
        tokio::time::sleep(EXCHANGE).await;
        let number = schedd_number(&delivery.id.schedd);
        let known = number.and_then(|number| Some((number, self.world.schedds().get(number)?)));
        known
            .filter(|(_, schedd)| schedd.is_up())
            .ok_or_else(|| no_answer(delivery))
    }
}

fn no_answer(delivery: &Delivery) -> Problem {
    Problem::new(
        Cause::credd(delivery),
        Kind::CreddDown,
        "the credd does not answer",
    )
}

/// A credd reports whole seconds.
fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or_default()
}

impl Transport for Credds {
    async fn observe(&self, delivery: &Delivery) -> Result<Observation, Problem> {
        let (_, schedd) = self.open(delivery).await?;
        let times = schedd
            .files
            .times(&delivery.id.account, &delivery.id.service);
        Ok(
            times.map_or_else(Observation::default, |times| Observation {
                stored: Some(whole(times.stored)),
                served: times.served.map(whole),
                serves_until: None,
                content: None,
            }),
        )
    }

    async fn store(&self, delivery: &Delivery, top: &SecretString) -> Result<(), Problem> {
        let (number, schedd) = self.open(delivery).await?;
        let crash = schedd.crash();
        if crash != Some(false)
            && let Some(token) = vault_token_of(&delivery.credential, top)
        {
            schedd
                .files
                .store(&delivery.id.account, &delivery.id.service, token);
        }
        if crash.is_none() {
            return Ok(());
        }
        // The credmon of the same host goes on; here it is started anew with the credd.
        self.world.stop_schedd(number);
        let world = self.world.clone();
        tokio::spawn(async move {
            tokio::time::sleep(CREDD_RESTART).await;
            world.start_schedd(number);
        });
        Err(no_answer(delivery))
    }

    async fn delete(&self, delivery: &Delivery) -> Result<bool, Problem> {
        if self.observe(delivery).await?.stored.is_none() {
            return Ok(false);
        }
        let (_, schedd) = self.open(delivery).await?;
        schedd
            .files
            .delete(&delivery.id.account, &delivery.id.service);
        Ok(true)
    }

    async fn find(&self, _: &Search, _: &FoundSchedds) -> Result<Vec<ScheddAd>, Problem> {
        Ok(Vec::new())
    }

    fn learn(&self, _: &Search, _: &FoundSchedds) {}
}
