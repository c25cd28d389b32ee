//! From what was typed to what is meant: the Vault, the schedule, the targets, the deliveries.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use htvault::{RequestLimit, ServerUrl, TlsSettings};

use super::faults::{At, Faults};
use super::judge;
use super::raw::Raw;
use super::resolve_account::{Defaults, Wanted, wanted};
use super::resolve_schedds::Groups;
use super::tree::Located;
use super::{Config, Cron, Search, VaultSettings};
use crate::delivery::{Delivery, DeliveryId};

const DEFAULT_CHECK: &str = "*/10 * * * *";
const DEFAULT_SPREAD: Duration = Duration::from_mins(5);
const DEFAULT_SERVICE: &str = "host";

/// The configuration; `None`, or one that is of no use, when there are faults.
pub(crate) fn config(raw: &Raw, faults: &mut Faults) -> Option<Config> {
    let whole = raw.whole.clone()?;
    let vault = vault(raw, &whole, faults);
    let check = match &raw.check {
        None => Cron::parse(DEFAULT_CHECK).ok(),
        Some(text) => Cron::parse(&text.value)
            .map_err(|why| text.fault(faults, why))
            .ok(),
    };
    let groups = Groups::new(&raw.schedds, faults);
    let defaults = Defaults::new(raw, faults);
    if raw.accounts.is_empty() {
        faults.add(
            &whole,
            "accounts",
            "no account is named, name at least one under `accounts`",
        );
    }
    let mut all: BTreeMap<DeliveryId, Arc<Delivery>> = BTreeMap::new();
    let mut used = BTreeSet::new();
    let mut searches: BTreeMap<String, Search> = BTreeMap::new();
    for account in &raw.accounts {
        // Without a good address the rest is still judged, against one that nobody asks.
        let server = vault
            .as_ref()
            .and_then(|vault| vault.servers.first().cloned());
        let server = server.or_else(|| "https://vault.invalid".parse().ok())?;
        for wanted in wanted(account, &defaults, &groups, &server, faults) {
            match wanted {
                Wanted::Known(group, delivery) => {
                    used.insert(group);
                    // A schedd in two groups is one.
                    all.entry(delivery.id.clone()).or_insert(Arc::new(delivery));
                }
                Wanted::Found(base, pattern) => {
                    used.insert(base.group.clone());
                    let search = searches.entry(base.group.clone());
                    search.or_insert(base).wanted.push(pattern);
                }
            }
        }
    }
    let listen = raw.listen.as_ref().and_then(|text| listen(text, faults));
    let path = |text: &Option<Located<String>>, default: &str, faults: &mut Faults| {
        let path = text.as_ref().map(|text| absolute(text, faults));
        path.unwrap_or_else(|| default.into())
    };
    let control = path(&raw.control, super::DEFAULT_CONTROL, faults);
    let state = path(&raw.state, super::DEFAULT_STATE, faults);
    judge::unused_groups(raw, &used, faults);
    let config = Config {
        vault: vault?,
        kerberos_service: raw
            .kerberos_service
            .as_ref()
            .map_or_else(|| DEFAULT_SERVICE.to_owned(), |text| text.value.clone()),
        check: check?,
        spread: raw.spread.as_ref().map_or(DEFAULT_SPREAD, |d| d.value),
        deliveries: all.into_values().collect(),
        searches: searches.into_values().collect(),
        listen,
        control,
        state,
        warnings: Vec::new(),
    };
    judge::looks(raw, &whole, &config, faults);
    judge::requests(raw, &config, faults);
    Some(config)
}

/// What is served says who has which credentials, and nothing hides it on its way.
fn listen(text: &Located<String>, faults: &mut Faults) -> Option<SocketAddr> {
    let Ok(address) = text.value.parse::<SocketAddr>() else {
        text.fault(
            faults,
            "an address with a port must stand here, write for example 127.0.0.1:9118",
        );
        return None;
    };
    if address.port() == 0 {
        text.fault(
            faults,
            "port 0 is not a port to connect to, write for example 127.0.0.1:9118",
        );
        return None;
    }
    if !address.ip().is_loopback() {
        text.fault(
            faults,
            "only the loopback is listened at, for nothing is encrypted and nobody is asked who he \
             is: write 127.0.0.1:9118, and put a web server with TLS in front of it for others",
        );
        return None;
    }
    Some(address)
}

/// The path, which must begin with `/`.
pub(crate) fn absolute(text: &Located<String>, faults: &mut Faults) -> PathBuf {
    let path = PathBuf::from(&text.value);
    if !path.is_absolute() {
        text.fault(faults, "the path must begin with /");
    }
    path
}

fn vault(raw: &Raw, whole: &At, faults: &mut Faults) -> Option<VaultSettings> {
    let servers = servers(raw, whole, faults);
    let limit = raw.vault.limit.as_ref().and_then(|text| {
        let limit = text.value.parse::<u32>().ok().filter(|n| *n > 0);
        if limit.is_none() {
            text.fault(faults, "a number of requests must stand here, at least 1");
        }
        limit
    });
    let requests = match (limit, &raw.vault.per) {
        (Some(limit), Some(per)) => Some(RequestLimit {
            limit,
            per: per.value,
        }),
        _ => None,
    };
    Some(VaultSettings {
        servers: servers?,
        tls: TlsSettings {
            ca_file: raw.vault.ca_file.as_ref().map(|t| absolute(t, faults)),
            ca_dir: raw.vault.ca_dir.as_ref().map(|t| absolute(t, faults)),
        },
        requests,
    })
}

fn servers(raw: &Raw, whole: &At, faults: &mut Faults) -> Option<Vec<ServerUrl>> {
    let addresses = raw.vault.address.as_deref().unwrap_or_default();
    if addresses.is_empty() {
        faults.add(
            whole,
            "vault.address",
            "the Vault's address is missing, write for example https://htvault.example.org:8200",
        );
        return None;
    }
    let read = |address: &Located<String>| {
        // Before anything prints it: a password may stand there.
        if address.value.contains('@') {
            address.fault(
                faults,
                "no user and no password may stand in it, write for example \
                 https://htvault.example.org:8200",
            );
            return None;
        }
        let parsed = address.value.parse::<ServerUrl>();
        let parsed = parsed.map_err(|error| address.fault(faults, error.words()));
        let server = parsed.ok()?;
        if server.port() == 0 {
            address.fault(
                faults,
                "port 0 is not a port to connect to, correct the address",
            );
            return None;
        }
        Some(server)
    };
    let servers: Vec<Option<ServerUrl>> = addresses.iter().map(read).collect();
    servers.into_iter().collect()
}
