//! A service that runs on paused time, and the hand that tells it things.

use super::super::*;
use crate::engine::report::Line;
use crate::engine::revoke::RevocationReport;
use crate::engine::revoke::StepOutcome;
use crate::fakes::{FakeSchedds, Outside};
use crate::fixtures::{config, credd, delivery};
use crate::model::delivery::Delivery;
use crate::model::delivery::Selection;
use crate::policy::plan::State;
use crate::store::Store;
use tokio::sync::oneshot;

pub(super) const HOUR: Duration = Duration::from_hours(1);

pub(super) fn at(account: &str, schedd: &str) -> Delivery {
    delivery(account, "cms", schedd, credd(schedd))
}

/// The delivery with its credential at another Vault.
pub(super) fn moved_to(server: &str, mut delivery: Delivery) -> Delivery {
    let mut credential = (*delivery.credential).clone();
    let server = server.parse().unwrap();
    let url = htvault::CredentialUrl::creds(&server, "cms", &credential.credkey, "default");
    credential.url = url.unwrap();
    credential.full_url = credential.url.clone();
    delivery.credential = Arc::new(credential);
    delivery.authorize = Arc::clone(&delivery.credential);
    delivery
}

/// Two accounts at two credds.
pub(super) fn deliveries() -> Vec<Delivery> {
    vec![
        at("a", "ap1"),
        at("a", "ap2"),
        at("b", "ap1"),
        at("b", "ap2"),
    ]
}

pub(super) fn of(account: Option<&str>, schedd: Option<&str>) -> Selection {
    Selection {
        account: account.map(str::to_owned),
        service: None,
        schedd: schedd.map(str::to_owned),
    }
}

/// A service that runs, and the hand that tells it things.
pub(super) struct Service {
    pub(super) reports: Reports,
    pub(super) commands: mpsc::Sender<Command<Outside, FakeSchedds>>,
    pub(super) outside: Outside,
    store: Store,
}

impl Service {
    pub(super) fn start(outside: &Outside, wanted: Vec<Delivery>) -> Self {
        Self::start_in(None, outside, wanted)
    }

    pub(super) fn start_in(
        state: Option<&std::path::Path>,
        outside: &Outside,
        wanted: Vec<Delivery>,
    ) -> Self {
        let store = state.map_or_else(Store::default, |state| Store::open(state).unwrap());
        outside.lock().state = state.map(std::path::Path::to_owned);
        let config = config(wanted);
        let mut engine = Engine::new(&config, outside.parts_with(store.clone()), TimeZone::UTC);
        let (commands, receive) = mpsc::channel(1);
        let reports = engine.reports();
        tokio::spawn(async move { engine.run(receive).await });
        Self {
            reports,
            commands,
            outside: outside.clone(),
            store,
        }
    }

    pub(super) async fn good(outside: &Outside, wanted: Vec<Delivery>) -> Self {
        let mut service = Self::start(outside, wanted);
        let good = async {
            while !service.reports.now().unwrap().is_good() {
                service.reports.changed().await.unwrap();
            }
        };
        timeout(HOUR, good).await.unwrap();
        service
    }

    pub(super) async fn revoke(&self, selection: Selection) -> Vec<RevocationReport> {
        let (answer, answered) = oneshot::channel();
        let command = Command::Revoke(selection, false, answer);
        self.commands.send(command).await.ok().unwrap();
        timeout(HOUR, answered).await.unwrap().unwrap()
    }

    /// Gives the order, and does not wait for its end.
    pub(super) async fn revoke_in_background(&self, selection: Selection) {
        let command = Command::Revoke(selection, false, oneshot::channel().0);
        self.commands.send(command).await.ok().unwrap();
    }

    pub(super) async fn reload(&self, wanted: Vec<Delivery>) {
        let servers = wanted.first().map(|first| first.credential.url.server());
        self.reload_of(wanted, servers.into_iter().collect()).await;
    }

    /// The same, with a Vault of these addresses.
    pub(super) async fn reload_of(&self, wanted: Vec<Delivery>, servers: Vec<htvault::ServerUrl>) {
        let (answer, answered) = oneshot::channel();
        let parts = self.outside.parts_with(self.store.clone());
        let mut config = config(wanted);
        if let Ok(vault) = htvault::Settings::for_cluster(servers) {
            config.vault = vault;
        }
        let reload = Command::Reload(Arc::new(config), parts, answer);
        self.commands.send(reload).await.ok().unwrap();
        answered.await.unwrap();
    }

    pub(super) async fn stop(&self) {
        self.commands.send(Command::Stop).await.ok().unwrap();
        self.commands.closed().await;
    }

    pub(super) async fn order(&self, order: Order) {
        let (answer, answered) = oneshot::channel();
        let command = Command::Order(order, answer);
        self.commands.send(command).await.ok().unwrap();
        answered.await.unwrap();
    }

    pub(super) fn state(&self, account: &str, schedd: &str) -> State {
        let report = self.reports.now().unwrap();
        let is = |line: &&Line| line.wanted.account == account && line.wanted.schedd == schedd;
        report.deliveries.iter().find(is).unwrap().state
    }

    /// What is wanted no longer and lives still.
    pub(super) fn unwanted(&self) -> Vec<DeliveryId> {
        let report = self.reports.now().unwrap();
        let unwanted = report.unwanted.iter();
        unwanted.map(|unwanted| unwanted.id.clone()).collect()
    }

    pub(super) fn has(&self, account: &str, schedd: &str) -> bool {
        let world = self.outside.lock();
        let token = world.token_at(&at(account, schedd).id);
        token.is_some_and(|token| world.is_alive(&token))
    }
}

pub(super) fn outcome(report: &RevocationReport) -> Vec<StepOutcome> {
    report.steps.iter().map(|step| step.outcome).collect()
}
