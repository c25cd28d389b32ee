//! One account with 5,000 credentials that hang, lie, refuse or lead nowhere, and another account
//! with real ones, which notices nothing of it.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use integration::ca::Ca;
use integration::hostile::{Answer, Credmon, Request, Server, Site, Vault, names};
use integration::process::Memory;
use integration::wait;

use super::{FAR, MINUTES, Test};

/// The life of real tokens, in seconds; three renewals in each.
const LIFE: u64 = 60;
/// Real credentials from the start.
const REAL: usize = 20;
/// Those of the attacker.
const BAD: usize = 5000;
/// How long it goes on: more than two lives.
const FLOOD: Duration = Duration::from_secs(150);
/// How many new credentials are stored in the middle of it.
const NEW: usize = 6;
/// A new credential must be served in a second; a slow test machine has more.
const SOON: Duration = Duration::from_secs(10);

const MEGABYTE: u64 = 1024 * 1024;

/// A server for very many host names: `N.DOMAIN`.
async fn many_names(
    ca: &Ca,
    domain: &str,
    count: usize,
    rule: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> anyhow::Result<Server> {
    let wildcard = format!("*.{domain}");
    let server = Server::named(ca, &[domain, &wildcard], rule).await?;
    lead(domain, count, &server)?;
    Ok(server)
}

fn lead(domain: &str, count: usize, server: &Server) -> Test {
    let address: Ipv4Addr = server.address().ip().to_string().parse()?;
    let hosts: Vec<String> = (0..count).map(|n| format!("{n}.{domain}")).collect();
    names::add(hosts.iter().map(|host| (host.as_str(), address)))
}

/// Lies, and texts that are far too long.
fn lie(request: &Request) -> Answer {
    match request.path.len() % 5 {
        0 => Answer::of(200, "application/json", "{}"),
        1 => Answer::of(200, "text/html", "<html><title>Portal</title></html>"),
        2 => Answer::of(200, "application/json", vec![b'['; 1 << 20]),
        3 => Answer::error(400, &"long ".repeat(50_000)),
        _ => Answer::of(200, "application/json", r#"{"data":{"access_token":7}}"#),
    }
}

fn refuse(request: &Request) -> Answer {
    match request.path.len() % 6 {
        0 => Answer::error(403, "1 error occurred:\n\t* permission denied\n\n"),
        1 => Answer::error(400, "token expired"),
        2 => Answer::of(404, "application/json", r#"{"errors":[]}"#),
        3 => Answer::error(500, "internal error"),
        4 => Answer::error(429, "too many").header("Retry-After", "99999"),
        _ => Answer::error(503, "Vault is sealed"),
    }
}

struct Mallory {
    servers: Vec<Server>,
    /// Keeps the address of a name server that never answers.
    _name_server: UdpSocket,
    /// What stands in the place of `/etc/resolv.conf`.
    resolver: PathBuf,
}

impl Mallory {
    async fn new(site: &Site) -> anyhow::Result<Self> {
        let mute = Server::mute("mute").await?;
        lead("mute-flood.test", 500, &mute)?;
        let drip = |_: &Request| Answer::Drip(Duration::from_secs(1));
        let servers = vec![
            many_names(&site.ca, "hang-flood.test", 1500, |_| Answer::Silence).await?,
            many_names(&site.ca, "drip-flood.test", 500, drip).await?,
            many_names(&site.ca, "lie-flood.test", 500, lie).await?,
            many_names(&site.ca, "refuse-flood.test", 500, refuse).await?,
            mute,
        ];
        let address = names::new_address();
        let resolver = site.path("resolv.conf");
        fs::write(
            &resolver,
            format!("nameserver {address}\noptions timeout:5 attempts:2\n"),
        )?;
        Ok(Self {
            servers,
            _name_server: UdpSocket::bind((address, 53))?,
            resolver,
        })
    }

    /// Where the attacker's credential with a number leads.
    fn url(vault: &Vault, number: usize) -> String {
        let of = |domain: &str, names: usize| {
            let filler = "x".repeat(number % 30);
            let host = format!("{}.{domain}-flood.test", number % names);
            format!("https://{host}:8200/v1/secret/oauth/creds/cms/{filler}{number}:default")
        };
        match number % 10 {
            0..=2 => of("hang", 1500),
            3 => of("mute", 500),
            4 => of("drip", 500),
            5 => of("lie", 500),
            6 => of("refuse", 500),
            7 => of("nowhere", BAD),
            8 => vault.url(&format!("secret/oauth/creds/none/x{number}:y")),
            _ => vault.url(
                [
                    "sys/health",
                    "sys/seal-status",
                    "secret/oauth/creds/cms/x:y",
                ][number / 10 % 3],
            ),
        }
    }

    fn store(site: &Site, vault: &Vault) -> Test {
        let real = vault.vault_token_of("mallory")?;
        for number in 0..BAD {
            let token = if number % 20 < 10 {
                real.as_str()
            } else {
                "s.garbage"
            };
            let url = Self::url(vault, number);
            site.directory
                .store("mallory", &format!("s{number}"), token, &url)?;
        }
        Ok(())
    }

    fn connections(&self) -> Vec<usize> {
        self.servers.iter().map(Server::connections).collect()
    }

    fn asked(&self) -> Vec<usize> {
        self.servers.iter().map(Server::asked).collect()
    }
}

/// The most of everything that was seen.
#[derive(Debug, Default)]
struct Most {
    memory: u64,
    descriptors: usize,
    status: u64,
}

impl Most {
    fn look(&mut self, credmon: &Credmon) -> Test {
        self.memory = self.memory.max(Memory::of(credmon.pid())?.resident);
        self.descriptors = self.descriptors.max(credmon.descriptors()?);
        let status = fs::metadata(credmon.setup.status_file()).map_or(0, |meta| meta.len());
        self.status = self.status.max(status);
        Ok(())
    }
}

/// No access token of these has ended.
fn all_live(site: &Site, services: &[String]) -> Test {
    for service in services {
        let token = site.directory.token("cmsprod", service);
        let token = token.with_context(|| format!("{service} has no token"))?;
        let left = token.left().context("it has an end")?;
        ensure!(
            left > 0,
            "the token of cmsprod/{service} ended {} s ago",
            -left
        );
    }
    Ok(())
}

/// The status of the good account tells of that account alone, and is good.
async fn status_is_clean(credmon: &Credmon, services: &[String]) -> Test {
    let status = credmon.status(&["--user", "cmsprod"]).await?;
    let mut report = status.json();
    let credentials = report["credentials"].as_array().cloned();
    let credentials = credentials.with_context(|| format!("{:?}", status.errors))?;
    ensure!(
        credentials.len() == services.len(),
        "{} credentials",
        credentials.len()
    );
    for one in &credentials {
        ensure!(one["state"] == "fresh", "{one}");
    }
    // Vaults in trouble are those of the whole site.
    report["troubled_vaults"].take();
    let text = report.to_string();
    for word in ["mallory", "-flood", "does not answer"] {
        ensure!(!text.contains(word), "{word} in {text}");
    }
    ensure!(status.code == Some(0), "{}", status.problems());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_account_with_5000_bad_credentials_hurts_nobody() -> Test {
    let site = Site::new()?;
    let vault = Vault::start(&site, Duration::from_secs(LIFE), REAL + NEW).await?;
    let token = vault.vault_token()?;
    let mallory = Mallory::new(&site).await?;
    let mut services: Vec<String> = (0..REAL).map(|n| format!("real{n}")).collect();
    for (number, service) in services.iter().enumerate() {
        site.directory
            .store("cmsprod", service, &token, &vault.creds(number))?;
    }
    let mut setup = site.credmon();
    setup.mounted(&mallory.resolver, "/etc/resolv.conf");
    let mut credmon = setup.for_life(LIFE).descriptors(1024, 4096).start()?;
    for service in &services {
        site.directory.served("cmsprod", service, FAR).await?;
    }

    Mallory::store(&site, &vault)?;
    let began = Instant::now();
    let (mut most, mut took) = (Most::default(), Vec::new());
    let mut first_log = 0;
    while began.elapsed() < FLOOD {
        all_live(&site, &services).with_context(|| {
            format!(
                "after {:?} of the flood, {most:?}, {:?}",
                began.elapsed(),
                mallory.asked()
            )
        })?;
        most.look(&credmon)?;
        let part = FLOOD / u32::try_from(NEW + 1)?;
        let number = took.len();
        if number < NEW && began.elapsed() > part * u32::try_from(number + 1)? {
            let service = format!("new{number}");
            let url = vault.creds(REAL + number);
            site.directory.store("cmsprod", &service, &token, &url)?;
            let stored = Instant::now();
            let served = site.directory.served("cmsprod", &service, SOON).await;
            served.with_context(|| format!("in the middle of it, {most:?}"))?;
            took.push(stored.elapsed());
            services.push(service);
        }
        if first_log == 0 && began.elapsed() > FLOOD / 2 {
            first_log = credmon.log().len();
        }
        wait::pass(Duration::from_millis(100)).await;
    }
    println!("from the rename of a new .top to its .use, in the middle of it: {took:?}");
    println!(
        "{most:?}, log {} bytes, of them {first_log} in the first half",
        credmon.log().len()
    );
    println!(
        "requests of the flood at each kind of server: {:?}",
        mallory.asked()
    );
    println!("connections to each: {:?}", mallory.connections());
    let asked: usize = mallory.asked().iter().sum();
    ensure!(asked > 100, "this was no flood: {asked} requests");
    let clean = wait::until("a clean status", FAR, async || {
        status_is_clean(&credmon, &services).await
    });
    clean.await.with_context(|| credmon.tail())?;

    ensure!(
        most.status < 10 * MEGABYTE,
        "status file: {} bytes",
        most.status
    );
    ensure!(
        most.memory < 150 * MEGABYTE,
        "memory: {} bytes",
        most.memory
    );
    ensure!(
        most.descriptors <= 2048,
        "descriptors: {}",
        most.descriptors
    );
    let log = credmon.log().len();
    ensure!(u64::try_from(log)? < 20 * MEGABYTE, "log: {log} bytes");

    fs::remove_dir_all(site.directory.folder("mallory"))?;
    wait::until("all to be forgotten", MINUTES, async || -> Test {
        let status = credmon.status(&[]).await?;
        let count = status.json()["count"].as_u64();
        ensure!(
            count == Some(u64::try_from(services.len())?),
            "{count:?} credentials"
        );
        ensure!(
            status.troubled() == 0,
            "{} troubled Vaults",
            status.troubled()
        );
        ensure!(status.code == Some(0), "{}", status.problems());
        let descriptors = credmon.descriptors()?;
        ensure!(descriptors < 100, "{descriptors} descriptors");
        Ok(())
    })
    .await?;
    all_live(&site, &services)?;
    credmon.terminate().await?;
    Ok(())
}
