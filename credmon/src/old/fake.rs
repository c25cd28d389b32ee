//! For tests: a Vault that behaves, a clock that follows tokio's, and a credential directory.
//!
//! The Vault has a cached token for each path and an issuer behind it, as HTVault has: a cached
//! token is given while it lives long enough, else the issuer is asked.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use htvault::clock::{Clock, SystemClock};
use htvault::{
    AccessToken, AccessTokenAnswer, AccessTokenRequest, Claims, CredentialUrl, ErrorKind,
    VaultToken,
};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::old::schedule;
use crate::old::source::{SourceError, TokenSource, VaultLife};

/// Wall time that goes with tokio's (paused) time, and jumps when told to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TestClock {
    base: Timestamp,
    start: Instant,
    shift: &'static AtomicI64,
}

impl TestClock {
    pub(crate) fn new() -> Self {
        Self {
            base: SystemClock.now(),
            start: Instant::now(),
            shift: Box::leak(Box::default()),
        }
    }

    /// A clock that agrees now, and jumps by itself.
    pub(crate) fn apart(self) -> Self {
        Self {
            shift: Box::leak(Box::default()),
            ..self
        }
    }

    /// Jumps by some seconds.
    pub(crate) fn jump(self, seconds: i64) {
        self.shift.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let shift = jiff::SignedDuration::from_secs(self.shift.load(Ordering::Relaxed));
        self.base + self.start.elapsed() + shift
    }
}

/// A request as the Vault saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) at: Timestamp,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) token: String,
    pub(crate) request: AccessTokenRequest,
}

#[derive(Debug)]
pub(crate) struct Vault {
    pub(crate) life: i64,
    pub(crate) issuer_up: bool,
    pub(crate) refresh_refused: bool,
    /// Hosts on which every request fails so.
    pub(crate) down: BTreeMap<String, ErrorKind>,
    /// Hosts that take this long to answer, in seconds.
    pub(crate) slow: BTreeMap<String, u64>,
    /// So many requests in so many seconds; further ones are told when to come again.
    pub(crate) limit: Option<(usize, i64)>,
    pub(crate) dead: Vec<String>,
    pub(crate) forbidden: Vec<String>,
    pub(crate) asked: Vec<Asked>,
    pub(crate) looked_up: usize,
    pub(crate) under_way: usize,
    pub(crate) most_under_way: usize,
    cache: BTreeMap<String, (Timestamp, String)>,
    issued: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct FakeSource {
    pub(crate) vault: Arc<Mutex<Vault>>,
    clock: TestClock,
}

impl FakeSource {
    pub(crate) fn new(clock: TestClock) -> Self {
        let vault = Vault {
            life: 3600,
            issuer_up: true,
            refresh_refused: false,
            down: BTreeMap::new(),
            slow: BTreeMap::new(),
            limit: None,
            dead: Vec::new(),
            forbidden: Vec::new(),
            asked: Vec::new(),
            looked_up: 0,
            under_way: 0,
            most_under_way: 0,
            cache: BTreeMap::new(),
            issued: 0,
        };
        Self {
            vault: Arc::new(Mutex::new(vault)),
            clock,
        }
    }

    /// Changes or reads the Vault.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Vault) -> T) -> T {
        act(&mut self.vault.lock().unwrap())
    }

    async fn wait(&self, host: &str) {
        let seconds = self.with(|v| {
            v.under_way += 1;
            v.most_under_way = v.most_under_way.max(v.under_way);
            v.slow.get(host).copied().unwrap_or(0)
        });
        tokio::time::sleep(Duration::from_secs(seconds) + Duration::from_millis(5)).await;
        self.with(|v| v.under_way -= 1);
    }
}

fn error(kind: ErrorKind) -> SourceError {
    SourceError {
        kind,
        text: format!("{kind:?}"),
        retry_after: None,
    }
}

impl Vault {
    /// As the client's bound on requests does.
    fn must_wait(&self, now: Timestamp) -> Option<Duration> {
        let (limit, seconds) = self.limit?;
        let from = now - jiff::SignedDuration::from_secs(seconds);
        let recent: Vec<_> = self.asked.iter().filter(|a| a.at > from).collect();
        let oldest = recent.get(recent.len().checked_sub(limit)?)?;
        Some(Duration::try_from(oldest.at.duration_since(from)).unwrap())
    }

    fn answer(
        &mut self,
        url: &CredentialUrl,
        token: &str,
        request: &AccessTokenRequest,
        now: Timestamp,
    ) -> Result<AccessTokenAnswer, ErrorKind> {
        let host = url.server().host().to_owned();
        self.asked.push(Asked {
            at: now,
            host: host.clone(),
            path: url.path().to_owned(),
            token: token.to_owned(),
            request: request.clone(),
        });
        if let Some(kind) = self.down.get(&host) {
            return Err(*kind);
        }
        if self.dead.iter().any(|t| t == token) {
            return Err(ErrorKind::TokenRejected);
        }
        if self.forbidden.iter().any(|t| t == token) {
            return Err(ErrorKind::Forbidden);
        }
        let minimum = i64::try_from(request.minimum_seconds.unwrap_or(0)).unwrap();
        let cached = self.cache.get(url.path()).cloned();
        let left = |end: Timestamp| end.as_second() - now.as_second();
        let (end, text) = match cached {
            Some(cached) if left(cached.0) >= minimum => cached,
            _ if self.refresh_refused => return Err(ErrorKind::RefreshRefused),
            _ if !self.issuer_up || minimum > self.life => return Err(ErrorKind::NotLongEnough),
            _ => {
                self.issued += 1;
                let end = Timestamp::from_second(now.as_second() + self.life).unwrap();
                let claims = serde_json::json!({
                    "iat": now.as_second(), "exp": end.as_second(), "jti": self.issued.to_string(),
                });
                let text = jwt(&claims);
                self.cache
                    .insert(url.path().to_owned(), (end, text.clone()));
                (end, text)
            }
        };
        Ok(AccessTokenAnswer {
            claims: Claims::read(&text),
            token: AccessToken::from(text),
            expire_time: Some(end),
            warnings: Vec::new(),
        })
    }
}

/// A token with claims and without a signature.
pub(crate) fn jwt(claims: &serde_json::Value) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in claims.to_string().as_bytes().chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, b| bits << 8 | u32::from(*b));
        let bits = bits << (8 * (3 - chunk.len()));
        for n in 0..=chunk.len() {
            let digit = bits >> (18 - 6 * n) & 63;
            text.push(char::from(DIGITS[usize::try_from(digit).unwrap()]));
        }
    }
    format!("e30.{text}.c2ln")
}

impl TokenSource for FakeSource {
    async fn access_token(
        &self,
        url: &CredentialUrl,
        vault_token: &VaultToken,
        request: &AccessTokenRequest,
    ) -> Result<AccessTokenAnswer, SourceError> {
        self.wait(url.server().host()).await;
        let now = self.clock.now();
        if let Some(wait) = self.with(|v| v.must_wait(now)) {
            return Err(SourceError {
                retry_after: Some(wait),
                ..error(ErrorKind::RateLimited)
            });
        }
        self.with(|v| v.answer(url, vault_token.expose(), request, now))
            .map_err(error)
    }

    async fn look_up(
        &self,
        url: &CredentialUrl,
        token: &VaultToken,
    ) -> Result<Option<VaultLife>, SourceError> {
        self.wait(url.server().host()).await;
        let expires = schedule::after(self.clock.now(), 7 * 86_400);
        Ok(self.with(|v| {
            v.looked_up += 1;
            let dead = v.dead.iter().any(|t| t == token.expose());
            (!dead).then_some(VaultLife {
                expires: Some(expires),
            })
        }))
    }
}

/// A credential directory.
pub(crate) struct Credentials {
    dir: tempfile::TempDir,
}

impl Credentials {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o2770)).unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Stores a `.top` as the credd does.
    pub(crate) fn store(&self, user: &str, service: &str, host: &str, token: &str) {
        let url = format!("https://{host}:8200/v1/secret/oauth/creds/cms/{user}:{service}");
        let top = serde_json::json!({"vault_token": token, "vault_url": url});
        self.put(user, &format!("{service}.top"), &top.to_string());
    }

    pub(crate) fn put(&self, user: &str, name: &str, content: &str) {
        let folder = self.path().join(user);
        std::fs::create_dir_all(&folder).unwrap();
        let new = folder.join(".new");
        std::fs::write(&new, content).unwrap();
        std::fs::rename(new, folder.join(name)).unwrap();
    }

    pub(crate) fn file(&self, user: &str, name: &str) -> PathBuf {
        self.path().join(user).join(name)
    }

    /// The claims of an access token in place.
    pub(crate) fn used(&self, user: &str, service: &str) -> Option<Claims> {
        let text = std::fs::read_to_string(self.file(user, &format!("{service}.use"))).ok()?;
        Claims::read(text.trim())
    }
}

/// Does something with a folder on a small disk of its own, in a thread that alone sees it; nothing
/// where that is not allowed.
pub(crate) fn on_small_disk(act: impl FnOnce(&Path) + Send + 'static) {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    const NOTHING: Option<&str> = None;
    let thread = std::thread::spawn(move || {
        if unshare(CloneFlags::CLONE_NEWNS).is_err() {
            return;
        }
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(NOTHING, "/", NOTHING, private, NOTHING).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let options = Some("size=64k,mode=2770");
        mount(
            Some("tmpfs"),
            dir.path(),
            Some("tmpfs"),
            MsFlags::empty(),
            options,
        )
        .unwrap();
        act(dir.path());
        nix::mount::umount2(dir.path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
    });
    thread.join().unwrap();
}

/// Makes a disk read-only, or writable again.
pub(crate) fn set_read_only(path: &Path, read_only: bool) {
    use nix::mount::{MsFlags, mount};
    const NOTHING: Option<&str> = None;
    let mut flags = MsFlags::MS_REMOUNT;
    flags.set(MsFlags::MS_RDONLY, read_only);
    mount(NOTHING, path, NOTHING, flags, NOTHING).unwrap();
}
