//! What happens when: faults begin and end, hosts and people act on it.
//!
//! Always true: the judge is asked at each full minute, whatever happens then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Context as _;
use bastion::config::Config;
use bastion::engine::{Command, Order};
use bastion::model::delivery::Selection;
use bastion::model::problem::{Cause, Kind as ProblemKind};
use bastion::simulation::SavedState;
use tokio::sync::oneshot;

use crate::bastion::{Service, configuration};
use crate::judge::{Judge, Judged};
use crate::plan::{Fault, Kind, Plan};
use crate::schedd::Schedd;
use crate::world::{Client, World};
use crate::{DAY, HOUR, MINUTE, Site, account_name, account_number, schedd_name};

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Begin(Fault),
    End(Fault),
    /// A new leader is elected.
    Elected,
    /// A person has logged in for an account.
    LoggedIn(usize),
    /// A delivery of an account at a schedd counts again, unless an outage is in the way of its push.
    Wanted(usize, usize),
}

/// The year.
struct Year {
    world: World,
    config: Arc<Config>,
    state: SavedState,
    service: Option<Service>,
    /// By their second; those of one second in the order in which they were added.
    events: BTreeMap<(u64, usize), Event>,
    added: usize,
    /// Outages under way, by what they concern: they may overlap.
    under_way: BTreeMap<&'static str, u32>,
    /// Accounts whose refresh token is lost and that nobody knows of yet; with the time that a person takes.
    unnoticed: BTreeMap<usize, u64>,
    /// Accounts and schedds of deliveries that are wanted again, when something stood in the way of their push.
    held_up: BTreeSet<(usize, usize)>,
    judge: Judge,
}

/// Simulates a site with these faults. `progress` hears of each day that is over.
///
/// # Errors
/// The simulation cannot be set up.
pub fn simulate(site: Site, plan: &Plan, mut progress: impl FnMut(u64)) -> anyhow::Result<Judged> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    #[cfg(tokio_unstable)]
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(
        b"the same order of equal times",
    ));
    let runtime = builder.enable_time().start_paused(true).build();
    let runtime = runtime.context("the runtime cannot be started")?;
    runtime.block_on(async {
        let mut year = Year::new(site, plan)?;
        for minute in 1..=site.days * DAY / MINUTE {
            year.run_until(minute * MINUTE).await;
            if minute.is_multiple_of(DAY / MINUTE) {
                progress(minute * MINUTE / DAY);
            }
        }
        let requests = year.world.server().requests().to_vec();
        Ok(year.judge.end(plan, &requests))
    })
}

impl Year {
    fn new(site: Site, plan: &Plan) -> anyhow::Result<Self> {
        let world = World::new(site);
        let config = Arc::new(configuration(site)?);
        let state = SavedState::default();
        for schedd in 0..site.schedds {
            world.start_schedd(schedd);
        }
        let service = Service::start(&world, &config, &state);
        let mut year = Self {
            judge: Judge::new(world.clone()),
            world,
            config,
            state,
            service: Some(service),
            events: BTreeMap::new(),
            added: 0,
            under_way: BTreeMap::new(),
            unnoticed: BTreeMap::new(),
            held_up: BTreeSet::new(),
        };
        for fault in &plan.faults {
            year.add(fault.begin, Event::Begin(*fault));
        }
        Ok(year)
    }

    fn add(&mut self, second: u64, event: Event) {
        self.added += 1;
        self.events.insert((second, self.added), event);
    }

    /// Lets everything happen until that second, and judges then.
    async fn run_until(&mut self, second: u64) {
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > second {
                break;
            }
            let ((at, _), event) = entry.remove_entry();
            tokio::time::sleep_until(self.world.instant(at)).await;
            self.happen(event).await;
        }
        tokio::time::sleep_until(self.world.instant(second)).await;
        self.notice_lost_grants();
        let service = self.service.as_ref();
        self.judge.minute(service.map(|service| &service.reports));
    }

    async fn happen(&mut self, event: Event) {
        match event {
            Event::Begin(fault) => {
                let lasts = match fault.kind {
                    Kind::GrantLost(account) => {
                        self.unnoticed.insert(account, fault.end - fault.begin);
                        self.world.server().grants_lost.insert(account);
                        false
                    }
                    _ => fault.end > fault.begin,
                };
                self.begin(fault).await;
                if lasts {
                    self.add(fault.end, Event::End(fault));
                }
            }
            Event::End(fault) => self.end(fault).await,
            Event::Elected => self.world.server().has_leader = true,
            Event::Wanted(account, schedd) => {
                let delivery = (account, schedd);
                if self.is_in_the_way(schedd) {
                    self.held_up.insert(delivery);
                } else if !self.held_up.remove(&delivery) {
                    return self.judge.want(account, schedd, true);
                }
                // What was in the way is tried again within two minutes after it is gone.
                self.add(self.world.second() + 3 * MINUTE, event);
            }
            Event::LoggedIn(account) => {
                self.world.server().grants_lost.remove(&account);
                let (answer, _) = oneshot::channel();
                self.command(Command::Onboarded(of(account, None), None, answer))
                    .await;
            }
        }
    }

    async fn begin(&mut self, fault: Fault) {
        match fault.kind {
            Kind::Server(number) => {
                let second = self.world.second();
                let mut server = self.world.server();
                server.servers_down.insert(number);
                // Any of them may be the leader.
                let was_leader = second.is_multiple_of(3);
                server.has_leader &= !was_leader;
                drop(server);
                if was_leader {
                    self.add(second + 12 + second % 17, Event::Elected);
                }
            }
            Kind::Cluster => self.count("cluster", true),
            Kind::Issuer(hangs) => {
                self.world.server().issuer_down = Some(hangs);
                self.count("issuer", true);
            }
            Kind::Kdc => self.count("kdc", true),
            Kind::BastionHost(is_crash) => {
                self.count("bastion", true);
                match self.service.take() {
                    Some(service) if is_crash => service.crash(),
                    Some(service) => service.stop().await,
                    None => {}
                }
            }
            Kind::Schedd(number) => self.world.stop_schedd(number),
            Kind::CreddCrash(number, after_storing) => {
                if let Some(schedd) = self.world.schedds().get(number) {
                    schedd.crash_at_next_push(after_storing);
                }
            }
            Kind::RateLimit(host) => _ = self.world.server().limited.insert(client(host)),
            Kind::Clock(None, wrong_by) => self.world.bastion_clock().set(wrong_by),
            Kind::Clock(Some(number), wrong_by) => {
                if let Some(schedd) = self.world.schedds().get(number) {
                    schedd.clock.set(wrong_by);
                }
            }
            Kind::Wrongful403(account, host) => {
                self.world.server().wrongful.insert((client(host), account));
            }
            Kind::GrantLost(_) => {}
            Kind::Revoke(account, schedd) => {
                self.judge.want(account, schedd, false);
                let (answer, _) = oneshot::channel();
                self.command(Command::Revoke(of(account, Some(schedd)), false, answer))
                    .await;
            }
            Kind::Reload => {
                if let Some(service) = &mut self.service {
                    let command = service.reload(&self.world, &self.config);
                    self.command(command).await;
                }
            }
            Kind::Push(account) => self.push(of(account, None)).await,
        }
    }

    async fn end(&mut self, fault: Fault) {
        match fault.kind {
            Kind::Server(number) => _ = self.world.server().servers_down.remove(&number),
            Kind::Cluster => self.count("cluster", false),
            Kind::Issuer(_) => self.count("issuer", false),
            Kind::Kdc => self.count("kdc", false),
            Kind::BastionHost(_) => self.count("bastion", false),
            Kind::Schedd(number) => {
                // A credd that crashed meanwhile was started with the host.
                self.world.stop_schedd(number);
                self.world.start_schedd(number);
            }
            Kind::RateLimit(host) => _ = self.world.server().limited.remove(&client(host)),
            Kind::Revoke(account, schedd) => {
                self.push(of(account, Some(schedd))).await;
                self.add(
                    self.world.second() + 2 * MINUTE,
                    Event::Wanted(account, schedd),
                );
            }
            _ => {}
        }
    }

    /// An outage begins or ends; it may overlap with others of its sort.
    fn count(&mut self, what: &'static str, begins: bool) {
        let number = self.under_way.entry(what).or_default();
        *number = if begins {
            *number + 1
        } else {
            number.saturating_sub(1)
        };
        let is_down = *number > 0;
        let mut server = self.world.server();
        match what {
            "cluster" => server.is_cluster_down = is_down,
            "kdc" => server.is_kdc_down = is_down,
            "issuer" if !is_down => server.issuer_down = None,
            "bastion" if !is_down && self.service.is_none() => {
                drop(server);
                self.service = Some(Service::start(&self.world, &self.config, &self.state));
            }
            _ => {}
        }
    }

    /// An outage lets no first push through; no token of before carries that.
    fn is_in_the_way(&self, schedd: usize) -> bool {
        let host = self.world.schedds().get(schedd);
        let server = self.world.server();
        self.service.is_none()
            || !host.is_some_and(Schedd::is_up)
            || server.is_cluster_down
            || server.is_kdc_down
            || server.issuer_down.is_some()
            || server.limited.contains(&Client::Bastion)
    }

    async fn command(&self, command: Command<crate::bastion::Asked, crate::bastion::Credds>) {
        // While the service is down a person waits, and orders it later: not simulated.
        if let Some(service) = &self.service {
            let _ = service.commands.send(command).await;
        }
    }

    async fn push(&self, selection: Selection) {
        let (answer, _) = oneshot::channel();
        self.command(Command::Order(Order::Push(selection), answer))
            .await;
    }

    /// A person notices a lost refresh token by the bastion's report, and logs in after a while.
    fn notice_lost_grants(&mut self) {
        let Some(service) = self.service.as_ref().filter(|_| !self.unnoticed.is_empty()) else {
            return;
        };
        let Ok(report) = service.reports.now() else {
            return;
        };
        let lost = report
            .problems
            .iter()
            .filter(|group| group.kind == ProblemKind::NotOnboarded);
        let accounts: Vec<usize> = lost.filter_map(|group| account_of(&group.cause)).collect();
        for account in accounts {
            if let Some(takes) = self.unnoticed.remove(&account) {
                self.add(self.world.second() + takes, Event::LoggedIn(account));
            }
        }
    }
}

/// The account whose credential a problem speaks of.
fn account_of(cause: &Cause) -> Option<usize> {
    match cause {
        Cause::Credential(name) => account_number(name.split('/').next()?),
        _ => None,
    }
}

fn client(host: Option<usize>) -> Client {
    host.map_or(Client::Bastion, Client::Schedd)
}

/// The deliveries of an account, or one of them.
fn of(account: usize, schedd: Option<usize>) -> Selection {
    Selection {
        account: Some(account_name(account)),
        service: None,
        schedd: schedd.map(schedd_name),
    }
}

/// Time at the start that is not judged: everything is delivered for the first time.
pub(crate) const START: u64 = HOUR;
