//! A credmon for a simulation: the scheduler and the renewals of the daemon, with files in memory and a Vault that is
//! not real.
//!
//! Always true: nothing is decided here. What the daemon's scanner would notice in a directory is passed on at once.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use htvault::clock::Clock;
use htvault::{
    AccessToken, AccessTokenAnswer, AccessTokenRequest, Claims, CredentialUrl, ErrorKind,
    VaultToken,
};
use jiff::Timestamp;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::model::{
    CredentialId, Failure, FileId, InUse, Lifetime, Now, Observed, ObservedTop, Outcome,
    RenewalTask, Rules, TokenInfo, TopStamp, VaultLife, lock,
};
use crate::renewal;
use crate::scheduler::{Gate, Permit, Scheduler};
use crate::store::{self, CompleteTop};

/// Descriptors of a daemon.
const DESCRIPTORS: u64 = 1024;
/// The scheduler forgets what nobody needs so often.
const SCAN: Duration = Duration::from_mins(10);

/// A Vault that is not real.
pub trait ModelVault: Send + Sync + 'static {
    /// Reads an access token of an account with a vault token; returns its times of issue and expiry.
    fn access_token(
        &self,
        account: &str,
        vault_token: &VaultToken,
        minimum_seconds: u64,
    ) -> impl Future<Output = Result<(Timestamp, Timestamp), ErrorKind>> + Send;

    /// Looks up the expiry of a vault token; `None` for a dead one.
    fn look_up(
        &self,
        vault_token: &VaultToken,
    ) -> impl Future<Output = Result<Option<Timestamp>, ErrorKind>> + Send;
}

/// The files of one credential.
struct Credential {
    top: FileId,
    vault_token: VaultToken,
    in_use: Option<Arc<TokenInfo>>,
}

/// Times of the files of one credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Change of the `.top`.
    pub stored: Timestamp,
    /// Change of the `.use`.
    pub served: Option<Timestamp>,
}

/// A credential directory in memory, of credentials that are all read at one URL. It outlives the credmons that work
/// in it. Cheap to clone.
#[derive(Clone)]
pub struct MemoryFiles(Arc<Directory>);

struct Directory {
    url: CredentialUrl,
    clock: Arc<dyn Clock>,
    content: Mutex<Content>,
}

#[derive(Default)]
struct Content {
    credentials: BTreeMap<CredentialId, Credential>,
    /// Number of files that were made.
    files: u64,
    /// The credmon that watches.
    watcher: Option<UnboundedSender<CredentialId>>,
}

impl MemoryFiles {
    /// A directory without files, on a host with this clock.
    #[must_use]
    pub fn new(url: CredentialUrl, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Directory {
            url,
            clock,
            content: Mutex::default(),
        }))
    }

    /// Stores a vault token. Names that HTCondor does not give are not stored.
    pub fn store(&self, account: &str, service: &str, vault_token: VaultToken) {
        let now = self.0.clock.now();
        let mut content = lock(&self.0.content);
        let Some(id) = CredentialId::new(&account.into(), service) else {
            return;
        };
        let top = content.new_file(now);
        let in_use = content
            .credentials
            .get(&id)
            .and_then(|known| known.in_use.clone());
        let credential = Credential {
            top,
            vault_token,
            in_use,
        };
        content.credentials.insert(id.clone(), credential);
        content.changed(id);
    }

    /// Deletes a credential, with the access token that jobs have of it.
    pub fn delete(&self, account: &str, service: &str) {
        let mut content = lock(&self.0.content);
        if let Some(id) = CredentialId::new(&account.into(), service) {
            content.credentials.remove(&id);
            content.changed(id);
        }
    }

    /// Returns the times of a credential's files; `None` when it has no `.top`.
    #[must_use]
    pub fn times(&self, account: &str, service: &str) -> Option<Times> {
        let id = CredentialId::new(&account.into(), service)?;
        let content = lock(&self.0.content);
        let known = content.credentials.get(&id)?;
        Some(Times {
            stored: time_of(known.top),
            served: known.in_use.as_ref().map(|token| token.written),
        })
    }

    /// Calls `visit` with each account, in their order, and the expiry of the access token that jobs have.
    pub fn visit(&self, mut visit: impl FnMut(&str, Option<Timestamp>)) {
        for (id, known) in &lock(&self.0.content).credentials {
            let lifetime = known.in_use.as_ref().and_then(|token| token.lifetime);
            visit(id.user(), lifetime.map(|lifetime| lifetime.expires));
        }
    }
}

impl Directory {
    fn watch(&self) -> UnboundedReceiver<CredentialId> {
        let (watcher, changes) = unbounded_channel();
        lock(&self.content).watcher = Some(watcher);
        changes
    }

    fn ids(&self) -> Vec<CredentialId> {
        lock(&self.content).credentials.keys().cloned().collect()
    }

    fn complete(&self, known: &Credential) -> CompleteTop {
        CompleteTop {
            vault_token: known.vault_token.clone(),
            url: self.url.clone(),
            scopes: None,
            audience: None,
        }
    }

    fn observe(&self, id: &CredentialId) -> Option<Observed> {
        let content = lock(&self.content);
        let known = content.credentials.get(id)?;
        let top = ObservedTop {
            id: id.clone(),
            stamp: stamp(known),
            route: Ok(self.complete(known).route(id)),
        };
        Some(Observed {
            top: Arc::new(top),
            in_use: known.in_use.clone().map(InUse::Token),
        })
    }
}

impl Content {
    fn new_file(&mut self, now: Timestamp) -> FileId {
        self.files += 1;
        FileId {
            inode: self.files,
            changed: i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX),
            ..FileId::default()
        }
    }

    fn changed(&self, id: CredentialId) {
        if let Some(watcher) = &self.watcher {
            // A credmon that does not run notices at its start.
            let _ = watcher.send(id);
        }
    }
}

impl store::Files for Directory {
    async fn read_top(self: &Arc<Self>, task: &RenewalTask) -> Result<CompleteTop, Outcome> {
        let content = lock(&self.content);
        let known = content.credentials.get(&task.id);
        let known = known.filter(|known| stamp(known) == task.stamp);
        known
            .map(|known| self.complete(known))
            .ok_or(Outcome::Changed)
    }

    async fn install_use(
        self: &Arc<Self>,
        task: &RenewalTask,
        answer: AccessTokenAnswer,
        now: Timestamp,
    ) -> Result<TokenInfo, Outcome> {
        let mut content = lock(&self.content);
        let file = content.new_file(now);
        let known = content.credentials.get_mut(&task.id);
        let known = known.filter(|known| stamp(known) == task.stamp);
        let known = known.ok_or(Outcome::Changed)?;
        let lifetime = Lifetime::of(answer.claims.as_ref(), answer.expire_time, now);
        let token = TokenInfo::new(file, now, lifetime, answer.claims.as_ref());
        known.in_use = Some(Arc::new(token.clone()));
        Ok(token)
    }
}

fn stamp(known: &Credential) -> TopStamp {
    TopStamp {
        own: known.top,
        parent: None,
    }
}

fn time_of(file: FileId) -> Timestamp {
    Timestamp::from_nanosecond(file.changed.into()).unwrap_or_default()
}

/// A simulated Vault, as renewals ask theirs.
struct Asked<V>(Arc<V>);

impl<V: ModelVault> renewal::Vault for Asked<V> {
    async fn access_token(
        &self,
        caller: &renewal::Caller,
        top: &CompleteTop,
        request: &AccessTokenRequest,
    ) -> Result<AccessTokenAnswer, Failure> {
        caller.requests.fetch_add(1, Ordering::Relaxed);
        let minimum = request.minimum_seconds.unwrap_or(0);
        let answer = self
            .0
            .access_token(&caller.account, &top.vault_token, minimum);
        let (issued, expires) = answer.await.map_err(failure)?;
        Ok(AccessTokenAnswer {
            token: AccessToken::from(String::new()),
            claims: Some(Claims {
                issued: Some(issued),
                expires: Some(expires),
                ..Claims::default()
            }),
            expire_time: Some(expires),
            warnings: Vec::new(),
        })
    }

    async fn look_up(
        &self,
        caller: &renewal::Caller,
        top: &CompleteTop,
    ) -> Result<Option<VaultLife>, Failure> {
        caller.requests.fetch_add(1, Ordering::Relaxed);
        let expires = self.0.look_up(&top.vault_token).await.map_err(failure)?;
        Ok(expires.map(|expires| VaultLife(Some(expires))))
    }
}

fn failure(kind: ErrorKind) -> Failure {
    Failure::of(kind, format!("{kind:?}"), format!("{kind:?}"))
}

/// Runs a credmon until the future is dropped.
pub async fn run<V: ModelVault>(files: MemoryFiles, vault: Arc<V>, hostname: String) {
    let directory = files.0;
    let clock = Arc::clone(&directory.clock);
    let vault = Arc::new(Asked(vault));
    let now = || Now {
        mono: Instant::now().into_std(),
        wall: clock.now(),
    };
    let rules = Rules {
        hostname,
        ..Rules::default()
    };
    let mut scheduler = Scheduler::new(rules, Gate::new(DESCRIPTORS), now());
    let mut changes = directory.watch();
    for id in directory.ids() {
        let observed = directory.observe(&id);
        observed.map(|observed| scheduler.observe(observed, now()));
    }
    let mut scan = Instant::now();
    let mut running = JoinSet::new();
    loop {
        if Instant::now() >= scan {
            scheduler.scanned(now());
            scan += SCAN;
        }
        for (task, permit) in scheduler.plan(now()).0 {
            let (files, vault, clock) = (directory.clone(), vault.clone(), clock.clone());
            running.spawn(async move {
                let ended = renewal::run(task.clone(), files, vault, clock).await;
                (task, ended, permit)
            });
        }
        let wake = scheduler
            .next_wake(now())
            .map_or(scan, |at| scan.min(Instant::from_std(at)));
        tokio::select! {
            biased;
            Some(id) = changes.recv() => match directory.observe(&id) {
                Some(observed) => _ = scheduler.observe(observed, now()),
                None => scheduler.gone(&id),
            },
            Some(ended) = running.join_next() => {
                let (task, (outcome, requests), permit): (RenewalTask, _, Permit) = match ended {
                    Ok(ended) => ended,
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                };
                permit.finish(requests, now().mono);
                if matches!(outcome, Outcome::Changed)
                    && let Some(observed) = directory.observe(&task.id)
                {
                    scheduler.observe(observed, now());
                }
                scheduler.report(&task, outcome, now());
            }
            () = tokio::time::sleep_until(wake) => {}
        }
    }
}
