//! The configuration as this daemon uses it.
//!
//! Nothing here fails: a value that makes no sense is named, and the default is used.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use htvault::{RequestLimit, TlsSettings};
use nix::sys::stat::Mode;

use crate::old::condor_config::Values;
use crate::old::copies::{self, SystemNames, TokenCopy};
use crate::old::providers::{Names, Routing};
use crate::old::rules::Rules;
use crate::old::schedule::Limits;
use crate::old::status_command;
use crate::old::views::ViewSettings;

/// Directory of certificate authorities that grid sites have.
const GRID_AUTHORITIES: &str = "/etc/grid-security/certificates";

/// What the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where the credentials are.
    pub directory: Option<PathBuf>,
    /// How they are served.
    pub rules: Rules,
    /// Whom to trust.
    pub tls: TlsSettings,
    /// Our own bound on requests to each Vault.
    pub limit: Option<RequestLimit>,
    /// Where the log goes, unless the command line says otherwise.
    pub log: Option<PathBuf>,
    /// What others may see.
    pub views: ViewSettings,
    /// Copies of access tokens for agents.
    pub copies: Vec<TokenCopy>,
    /// Whether the process confines itself to what it needs.
    pub confine: bool,
    /// Whether the log is to tell everything (`D_FULLDEBUG`).
    pub full_debug: bool,
}

impl Settings {
    /// Reads the values for a daemon on a host; returns what had to be replaced by a default, too.
    #[must_use]
    pub fn new(values: &Values, daemon: &str, here: &str) -> (Self, Vec<String>) {
        let mut complaints = Vec::new();
        let limits = limits(values, &mut complaints);
        let tls = authorities(values, &mut complaints);
        let log = values
            .get(&format!("{daemon}_LOG"))
            .map(PathBuf::from)
            .or_else(|| Some(Path::new(values.get("LOG")?).join(log_name(daemon))));
        let debug = values.get(&format!("{daemon}_DEBUG")).unwrap_or_default();
        let settings = Self {
            directory: values
                .get("SEC_CREDENTIAL_DIRECTORY_OAUTH")
                .or_else(|| values.get("SEC_CREDENTIAL_DIRECTORY"))
                .map(PathBuf::from),
            rules: Rules {
                limits,
                routing: routing(values, &mut complaints),
                trusted_hosts: values
                    .get("TRUSTED_VAULT_HOSTS")
                    .map(|hosts| list(hosts).collect()),
                delete_dead: truth(
                    values,
                    "CREDMON_HTVAULT_DELETE_DEAD",
                    false,
                    &mut complaints,
                ),
                here: here.to_owned(),
            },
            tls,
            limit: request_limit(values, &mut complaints),
            log,
            views: views(values, &mut complaints),
            copies: copies(values, &mut complaints),
            confine: truth(values, "CREDMON_HTVAULT_CONFINE", true, &mut complaints),
            full_debug: debug.to_ascii_uppercase().contains("D_FULLDEBUG"),
        };
        (settings, complaints)
    }
}

/// The log's name when the configuration gives none: HTCondor's own for the usual daemon, else made
/// from the daemon's name as HTCondor's monitors do.
fn log_name(daemon: &str) -> String {
    if daemon.eq_ignore_ascii_case("CREDMON_OAUTH") {
        return "CredMonOAuthLog".to_owned();
    }
    let mut name = String::new();
    for word in daemon.split('_') {
        let mut letters = word.chars();
        name.extend(letters.next().map(|c| c.to_ascii_uppercase()));
        name.extend(letters.map(|c| c.to_ascii_lowercase()));
    }
    name + "Log"
}

fn limits(values: &Values, complaints: &mut Vec<String>) -> Limits {
    let default = Limits::default();
    let mut seconds = |name: &str, default: i64| match values.get(name) {
        None => default,
        Some(text) => seconds(text).unwrap_or_else(|| {
            complaints.push(format!(
                "{name} = {text:?} is no number of seconds above 0; {default} is used"
            ));
            default
        }),
    };
    let minimum = seconds("CREDMON_OAUTH_TOKEN_MINIMUM", default.minimum);
    Limits {
        minimum,
        refresh: seconds("CREDMON_OAUTH_TOKEN_REFRESH", (minimum / 2).max(1)),
    }
}

/// Where the status goes: to the file that is named, else to `RUN`, where everybody may look.
fn views(values: &Values, complaints: &mut Vec<String>) -> ViewSettings {
    const MODE: &str = "CREDMON_HTVAULT_STATUS_MODE";
    const ADDRESS: &str = "CREDMON_HTVAULT_METRICS_ADDRESS";
    let mut views = ViewSettings::default();
    let in_run = || Some(Path::new(values.get("RUN")?).join("credmon_htvault.status"));
    views.status_file = values
        .get("CREDMON_HTVAULT_STATUS_FILE")
        .map(PathBuf::from)
        .or_else(in_run);
    views.metrics_file = values
        .get("CREDMON_HTVAULT_METRICS_FILE")
        .map(PathBuf::from);
    let per_credential = "CREDMON_HTVAULT_METRICS_PER_CREDENTIAL";
    views.metrics_per_credential = truth(values, per_credential, true, complaints);
    if let Some(text) = values.get(ADDRESS) {
        let address: Option<std::net::SocketAddr> = text.parse().ok();
        views.metrics_address = address.filter(|address| address.ip().is_loopback());
        if views.metrics_address.is_none() {
            complaints.push(format!(
                "{ADDRESS} = {text:?} is no loopback address with a port, such as 127.0.0.1:9119; \
                 metrics are not told by HTTP"
            ));
        }
    }
    if let Some(text) = values.get(MODE) {
        match u32::from_str_radix(text, 8) {
            Ok(bits) if bits & !0o666 == 0 => views.status_mode = Mode::from_bits_truncate(bits),
            _ => complaints.push(format!(
                "{MODE} = {text:?} is no mode such as 0644 or 0640; 0644 is used"
            )),
        }
    }
    views
}

fn copies(values: &Values, complaints: &mut Vec<String>) -> Vec<TokenCopy> {
    const NAME: &str = "CREDMON_HTVAULT_COPIES";
    let text = values.get(NAME).unwrap_or_default();
    let (copies, faults) = copies::parse(text, &SystemNames);
    complaints.extend(
        faults
            .iter()
            .map(|fault| format!("{NAME}: {fault}; it is left out")),
    );
    copies
}

/// A number of seconds, or a product of numbers such as `40 * 60`, up to some 68 years.
fn seconds(text: &str) -> Option<i64> {
    let mut product: i64 = 1;
    for factor in text.split('*') {
        let factor: u32 = factor.trim().parse().ok()?;
        product = product.checked_mul(i64::from(factor))?;
    }
    (1..=i64::from(i32::MAX))
        .contains(&product)
        .then_some(product)
}

/// `300/5m`: so many requests in any span of that length.
fn request_limit(values: &Values, complaints: &mut Vec<String>) -> Option<RequestLimit> {
    const NAME: &str = "CREDMON_HTVAULT_REQUEST_LIMIT";
    let text = values.get(NAME)?;
    let read = || {
        let (limit, per) = text.split_once('/')?;
        let limit = limit.trim().parse().ok().filter(|&limit| limit > 0)?;
        let per = u64::try_from(status_command::seconds(per.trim()).ok()?).ok()?;
        let per = Duration::from_secs(per);
        (!per.is_zero()).then_some(RequestLimit { limit, per })
    };
    let limit = read();
    if limit.is_none() {
        complaints.push(format!(
            "{NAME} = {text:?} is no bound such as 300/5m; requests are not bounded"
        ));
    }
    limit
}

fn authorities(values: &Values, complaints: &mut Vec<String>) -> TlsSettings {
    let ca_file = values.get("AUTH_SSL_CLIENT_CAFILE").map(PathBuf::from);
    let ca_file = ca_file.filter(|file| match std::fs::File::open(file) {
        Ok(_) => true,
        Err(error) => {
            complaints.push(format!(
                "AUTH_SSL_CLIENT_CAFILE = {} cannot be read: {error}; the system's authorities are used",
                file.display()
            ));
            false
        }
    });
    let ca_dir = match values.get("AUTH_SSL_CLIENT_CADIR").map(Path::new) {
        Some(dir) if dir.is_dir() => Some(dir),
        Some(dir) => {
            complaints.push(format!(
                "AUTH_SSL_CLIENT_CADIR = {} is no directory; it is not used",
                dir.display()
            ));
            None
        }
        None => Some(Path::new(GRID_AUTHORITIES)).filter(|dir| dir.is_dir()),
    };
    TlsSettings {
        ca_file,
        ca_dir: ca_dir.map(Path::to_owned),
    }
}

fn routing(values: &Values, complaints: &mut Vec<String>) -> Routing {
    let listed =
        |name: &str| -> BTreeSet<String> { values.get(name).into_iter().flat_map(list).collect() };
    let mut others = BTreeSet::new();
    for name in [
        "LOCAL_CREDMON_PROVIDER_NAME",
        "LOCAL_CREDMON_PROVIDER_NAMES",
        "OAUTH2_CREDMON_PROVIDER_NAMES",
        "CLIENT_CREDMON_PROVIDER_NAMES",
        "PELICAN_CREDMON_PROVIDER_NAMES",
    ] {
        others.extend(listed(name));
    }
    // In another monitor's list it means "what nobody else claims", which are ours.
    others.remove("*");
    let special_characters = truth(
        values,
        "CREDMON_ALLOW_SPECIAL_CHAR_NAMES",
        false,
        complaints,
    );
    let names = match Names::of_version(values.get("CONDOR_VERSION")) {
        Names::Parted if special_characters => Names::Exact,
        names => names,
    };
    Routing {
        ours: listed("VAULT_CREDMON_PROVIDER_NAMES"),
        others,
        with_client_id: values
            .names()
            .filter_map(|name| name.strip_suffix("_CLIENT_ID"))
            .map(str::to_owned)
            .collect(),
        names,
    }
}

/// A setting that is true or false.
fn truth(values: &Values, name: &str, default: bool, complaints: &mut Vec<String>) -> bool {
    let Some(text) = values.get(name) else {
        return default;
    };
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "1" => true,
        "false" | "f" | "no" | "n" | "0" => false,
        _ => {
            complaints.push(format!(
                "{name} = {text:?} is neither true nor false; {default} is used"
            ));
            default
        }
    }
}

/// Words between commas and blanks.
fn list(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| c == ',' || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Settings, Vec<String>) {
        let mut values = Values::default();
        for (name, value) in pairs {
            values.set(name, value);
        }
        Settings::new(&values, "CREDMON_OAUTH", "ap.test")
    }

    #[test]
    fn nothing_configured_gives_htcondors_defaults() {
        let (settings, complaints) = read(&[]);
        assert_eq!(settings.rules.limits, Limits::default());
        assert_eq!(settings.directory, None);
        assert_eq!(settings.log, None);
        assert_eq!(settings.rules.trusted_hosts, None);
        assert!(complaints.is_empty());
    }

    #[test]
    fn what_is_configured_is_used() {
        let (settings, complaints) = read(&[
            ("SEC_CREDENTIAL_DIRECTORY", "/old"),
            ("SEC_CREDENTIAL_DIRECTORY_OAUTH", "/creds"),
            ("CREDMON_OAUTH_TOKEN_MINIMUM", " 40 * 60 * 2"),
            ("LOG", "/var/log/condor"),
            ("TRUSTED_VAULT_HOSTS", "a.test, b.test c.test"),
            ("LOCAL_CREDMON_PROVIDER_NAMES", "x,y"),
            ("OAUTH2_CREDMON_PROVIDER_NAMES", "*"),
            ("box_CLIENT_ID", "1"),
            ("CREDMON_OAUTH_DEBUG", "D_FULLDEBUG D_SECURITY"),
            ("CREDMON_HTVAULT_REQUEST_LIMIT", "300/5m"),
        ]);
        assert_eq!(complaints, Vec::<String>::new());
        let per = Duration::from_mins(5);
        assert_eq!(settings.limit, Some(RequestLimit { limit: 300, per }));
        assert_eq!(settings.directory, Some("/creds".into()));
        assert_eq!(settings.rules.limits.minimum, 4800);
        assert_eq!(settings.rules.limits.refresh, 2400);
        assert_eq!(settings.log, Some("/var/log/condor/CredMonOAuthLog".into()));
        assert!(settings.rules.trusts("B.test"));
        assert!(!settings.rules.trusts("d.test"));
        assert_eq!(settings.rules.routing.others.len(), 2);
        assert!(settings.rules.routing.with_client_id.contains("BOX"));
        assert!(settings.full_debug);
    }

    #[test]
    fn a_bad_value_is_named_and_the_default_used() {
        for (name, value) in [
            ("CREDMON_OAUTH_TOKEN_MINIMUM", "soon"),
            ("CREDMON_OAUTH_TOKEN_MINIMUM", "0"),
            ("CREDMON_OAUTH_TOKEN_MINIMUM", "-5"),
            ("CREDMON_OAUTH_TOKEN_MINIMUM", "99999999999"),
            ("CREDMON_OAUTH_TOKEN_REFRESH", "1 *"),
            ("AUTH_SSL_CLIENT_CAFILE", "/nowhere/ca.pem"),
            ("AUTH_SSL_CLIENT_CADIR", "/nowhere"),
            ("CREDMON_ALLOW_SPECIAL_CHAR_NAMES", "maybe"),
            ("CREDMON_HTVAULT_REQUEST_LIMIT", "many"),
            ("CREDMON_HTVAULT_REQUEST_LIMIT", "0/5m"),
            ("CREDMON_HTVAULT_REQUEST_LIMIT", "300/0s"),
            ("CREDMON_HTVAULT_DELETE_DEAD", "perhaps"),
            ("CREDMON_HTVAULT_CONFINE", "perhaps"),
            ("CREDMON_HTVAULT_COPIES", "u/cms nowhere"),
            ("CREDMON_HTVAULT_METRICS_ADDRESS", "0.0.0.0:9119"),
            ("CREDMON_HTVAULT_METRICS_ADDRESS", "9119"),
            ("CREDMON_HTVAULT_STATUS_MODE", "rw-r--r--"),
            ("CREDMON_HTVAULT_STATUS_MODE", "0755"),
        ] {
            let (settings, complaints) = read(&[(name, value)]);
            assert_eq!(settings.rules.limits, Limits::default(), "{name} = {value}");
            assert_eq!(complaints.len(), 1, "{name} = {value}");
            assert!(complaints[0].contains(name), "{complaints:?}");
        }
    }

    #[test]
    fn the_setting_for_names_counts_where_htcondor_knows_it() {
        for (version, special, names) in [
            ("25.14.1", "false", Names::Parted),
            ("25.14.1", "true", Names::Exact),
            ("", "true", Names::Exact),
            ("25.0.13", "true", Names::Whole),
            ("25.0.13", "false", Names::Whole),
            ("23.9.6", "false", Names::Unrouted),
        ] {
            let (settings, complaints) = read(&[
                ("CONDOR_VERSION", version),
                ("CREDMON_ALLOW_SPECIAL_CHAR_NAMES", special),
            ]);
            assert_eq!(settings.rules.routing.names, names, "{version} {special}");
            assert_eq!(complaints, Vec::<String>::new());
        }
    }

    #[test]
    fn another_daemon_name_has_its_own_log() {
        let mut values = Values::default();
        values.set("LOG", "/l");
        let (settings, _) = Settings::new(&values, "CREDMON_VAULT", "");
        assert_eq!(settings.log, Some("/l/CredmonVaultLog".into()));
    }
}
