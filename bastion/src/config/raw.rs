//! What was typed: the sections of the configuration, read with their places, not yet judged.
//!
//! Several files make one configuration: `schedds` and `accounts` are joined by name, any other
//! section stands in one file only.

use std::time::Duration;

use super::faults::{At, Faults};
use super::keys;
use super::tree::{Entry, INVISIBLE, Located, Node, Section, is_printable};

type Text = Option<Located<String>>;
type Texts = Option<Vec<Located<String>>>;

#[derive(Debug, Default)]
pub(crate) struct Raw {
    /// A place for faults of what is missing.
    pub(crate) whole: Option<At>,
    pub(crate) vault: Vault,
    pub(crate) tokens: Tokens,
    pub(crate) grant: Grant,
    pub(crate) kerberos_service: Text,
    pub(crate) check: Text,
    pub(crate) spread: Option<Located<Duration>>,
    pub(crate) defaults: Account,
    pub(crate) schedds: Vec<Named<Group>>,
    pub(crate) accounts: Vec<Named<Account>>,
    pub(crate) listen: Text,
    pub(crate) control: Text,
    pub(crate) state: Text,
}

#[derive(Debug)]
pub(crate) struct Named<T> {
    pub(crate) name: Located<String>,
    pub(crate) value: T,
}

#[derive(Debug, Default)]
pub(crate) struct Vault {
    pub(crate) address: Texts,
    pub(crate) ca_file: Text,
    pub(crate) ca_dir: Text,
    pub(crate) limit: Text,
    pub(crate) per: Option<Located<Duration>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens {
    pub(crate) lifetime: Option<Located<Duration>>,
    pub(crate) renew_below: Option<Located<Duration>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Grant {
    pub(crate) lifetime: Option<Located<Duration>>,
    pub(crate) warn: Option<Located<Duration>>,
}

#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) directory: Text,
    pub(crate) credds: Texts,
    pub(crate) collector: Text,
    pub(crate) constraint: Text,
    pub(crate) authenticate: Text,
    pub(crate) superuser_for: Text,
}

#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) principal: Text,
    pub(crate) keytab: Text,
    pub(crate) credkey: Text,
    pub(crate) tokens: Tokens,
    pub(crate) grant: Grant,
    pub(crate) schedds: Texts,
    pub(crate) credentials: Option<Vec<Named<Credential>>>,
}

#[derive(Debug, Default)]
pub(crate) struct Credential {
    pub(crate) scopes: Texts,
    pub(crate) audience: Texts,
    pub(crate) issuer: Text,
    pub(crate) role: Text,
    pub(crate) authorize_with: Text,
    pub(crate) tokens: Tokens,
    pub(crate) grant: Grant,
    pub(crate) schedds: Texts,
    /// What is different at some schedds, in the order in which it was typed.
    pub(crate) at: Vec<Named<Override>>,
}

#[derive(Debug, Default)]
pub(crate) struct Override {
    pub(crate) scopes: Texts,
    pub(crate) audience: Texts,
    pub(crate) tokens: Tokens,
}

/// Reads the roots of all files.
pub(crate) fn read(roots: &[Node], faults: &mut Faults) -> Raw {
    let mut raw = Raw {
        whole: roots.first().map(|root| At::file(&root.at.file)),
        ..Raw::default()
    };
    let mut sections: Vec<&Entry> = Vec::new();
    for root in roots {
        // Unknown keys are faults of the file that has them.
        root.section(keys::TOP, faults);
        for entry in root.entries(&mut Faults::default()) {
            let joined = matches!(entry.key.as_str(), "schedds" | "accounts");
            match sections.iter().find(|known| known.key == entry.key) {
                Some(first) if !joined => faults.add(
                    &entry.at,
                    &entry.key,
                    format!("it stands at {} already, keep one of them", first.at),
                ),
                _ => {
                    sections.push(entry);
                    raw.take(entry, faults);
                }
            }
        }
    }
    raw
}

impl Raw {
    fn take(&mut self, entry: &Entry, faults: &mut Faults) {
        let node = &entry.node;
        match entry.key.as_str() {
            "vault" => self.vault = vault(node, faults),
            "tokens" => self.tokens = tokens(node, faults),
            "grant" => self.grant = grant(node, faults),
            "kerberos" => {
                let section = node.section(keys::KERBEROS, faults);
                self.kerberos_service = section.text("service", faults);
            }
            "schedule" => {
                let section = node.section(keys::SCHEDULE, faults);
                self.check = section.text("check", faults);
                self.spread = section.duration("spread", faults);
            }
            "listen" => {
                let section = node.section(keys::LISTEN, faults);
                if section.get("address").is_none() {
                    let what =
                        "`address` is missing, write for example {address: \"127.0.0.1:9118\"}";
                    faults.add(&node.at, &node.path, what);
                }
                self.listen = section.text("address", faults);
            }
            "control" => {
                self.control = node.section(keys::CONTROL, faults).text("socket", faults);
            }
            "state" => self.state = node.text(faults),
            "defaults" => self.defaults = account(node, faults),
            "schedds" => named(node, &mut self.schedds, group, faults),
            "accounts" => named(node, &mut self.accounts, account, faults),
            // A fault already.
            _ => {}
        }
    }
}

fn vault(node: &Node, faults: &mut Faults) -> Vault {
    let section = node.section(keys::VAULT, faults);
    let requests = section
        .get("requests")
        .map(|node| node.section(keys::REQUESTS, faults));
    let (limit, per) = match (&requests, section.get("requests")) {
        (Some(requests), Some(node)) => {
            let both = ["limit", "per"]
                .iter()
                .all(|key| requests.get(key).is_some());
            if !both {
                faults.add(
                    &node.at,
                    &node.path,
                    "limit and per belong together, write for example {limit: 300, per: 5m}",
                );
            }
            (
                requests.text("limit", faults),
                requests.duration("per", faults),
            )
        }
        _ => (None, None),
    };
    Vault {
        address: section.texts("address", faults),
        ca_file: section.text("ca_file", faults),
        ca_dir: section.text("ca_dir", faults),
        limit,
        per,
    }
}

fn tokens(node: &Node, faults: &mut Faults) -> Tokens {
    let section = node.section(keys::TOKENS, faults);
    Tokens {
        lifetime: section.duration("lifetime", faults),
        renew_below: section.duration("renew_below", faults),
    }
}

fn grant(node: &Node, faults: &mut Faults) -> Grant {
    let section = node.section(keys::GRANT, faults);
    Grant {
        lifetime: section.duration("lifetime", faults),
        warn: section.duration("warn", faults),
    }
}

fn group(node: &Node, faults: &mut Faults) -> Group {
    let section = node.section(keys::GROUP, faults);
    Group {
        directory: section.text("directory", faults),
        credds: section.texts("credds", faults),
        collector: section.text("collector", faults),
        constraint: section.lines("constraint", faults),
        authenticate: section.text("authenticate", faults),
        superuser_for: section.text("superuser_for", faults),
    }
}

fn account(node: &Node, faults: &mut Faults) -> Account {
    let section = node.section(keys::ACCOUNT, faults);
    Account {
        principal: section.text("principal", faults),
        keytab: section.text("keytab", faults),
        credkey: section.text("credkey", faults),
        tokens: below(&section, "tokens", tokens, faults),
        grant: below(&section, "grant", grant, faults),
        schedds: section.texts("schedds", faults),
        credentials: credentials(&section, faults),
    }
}

fn credentials(section: &Section<'_>, faults: &mut Faults) -> Option<Vec<Named<Credential>>> {
    let node = section.get("credentials")?;
    let mut list = Vec::new();
    named(node, &mut list, credential, faults);
    Some(list)
}

fn credential(node: &Node, faults: &mut Faults) -> Credential {
    let section = node.section(keys::CREDENTIAL, faults);
    Credential {
        scopes: section.texts("scopes", faults),
        audience: section.texts("audience", faults),
        issuer: section.text("issuer", faults),
        role: section.text("role", faults),
        authorize_with: section.text("authorize_with", faults),
        tokens: below(&section, "tokens", tokens, faults),
        grant: below(&section, "grant", grant, faults),
        schedds: section.texts("schedds", faults),
        at: section.get("at").map_or_else(Vec::new, |node| {
            let mut list = Vec::new();
            named(node, &mut list, different, faults);
            list
        }),
    }
}

fn different(node: &Node, faults: &mut Faults) -> Override {
    let section = node.section(keys::OVERRIDE, faults);
    Override {
        scopes: section.texts("scopes", faults),
        audience: section.texts("audience", faults),
        tokens: below(&section, "tokens", tokens, faults),
    }
}

/// A section of a section; without it what stands for nothing.
fn below<T: Default>(
    section: &Section<'_>,
    key: &str,
    read: impl Fn(&Node, &mut Faults) -> T,
    faults: &mut Faults,
) -> T {
    let node = section.get(key);
    node.map(|node| read(node, faults)).unwrap_or_default()
}

/// Reads a map from names to things and adds them to those of other files.
fn named<T>(
    node: &Node,
    list: &mut Vec<Named<T>>,
    read: impl Fn(&Node, &mut Faults) -> T,
    faults: &mut Faults,
) {
    let entries = node.entries(faults);
    // Each is large, and most lists are of one.
    list.reserve_exact(entries.len());
    for entry in entries {
        let name = Located {
            value: entry.key.clone(),
            at: entry.at.clone(),
            path: entry.node.path.clone(),
        };
        if !is_printable(&name.value) {
            name.fault(faults, INVISIBLE);
        }
        if let Some(first) = list.iter().find(|known| known.name.value == name.value) {
            let first = first.name.at.clone();
            name.fault(
                faults,
                format!("it stands at {first} already, keep one of them"),
            );
            continue;
        }
        let value = read(&entry.node, faults);
        list.push(Named { name, value });
    }
}
