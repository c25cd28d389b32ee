//! The configuration as this daemon uses it: typed settings from HTCondor's values.
//!
//! A value that makes no sense is reported, and the default is used. Nothing here reads a
//! certificate or a credential.

pub(crate) mod condor;
mod copies;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use htvault::TlsSettings;

use crate::model::{Limits, NameStyle, Routing, Rules, TokenCopy};
use condor::Values;

/// Directory of certificate authorities that grid sites have. Where it is missing, it may come.
const GRID_AUTHORITIES: &str = "/etc/grid-security/certificates";

/// Files that are published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outputs {
    pub(crate) status_file: Option<PathBuf>,
    /// Permission bits of the status file.
    pub(crate) status_mode: u32,
    /// File for `node_exporter`'s textfile collector.
    pub(crate) metrics_file: Option<PathBuf>,
    /// `false` leaves metrics of single credentials out.
    pub(crate) metrics_per_credential: bool,
}

/// Settings of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) directory: Option<PathBuf>,
    pub(crate) rules: Rules,
    pub(crate) tls: TlsSettings,
    /// Log file, unless the command line names another.
    pub(crate) log: Option<PathBuf>,
    pub(crate) outputs: Outputs,
    pub(crate) copies: Vec<TokenCopy>,
    /// `false`: the process keeps all its rights.
    pub(crate) confine: bool,
    /// `D_FULLDEBUG`.
    pub(crate) full_debug: bool,
    /// Values that make no sense and keep credentials from being served.
    pub(crate) problems: Vec<String>,
    /// Other values that make no sense, with what is used instead.
    pub(crate) warnings: Vec<String>,
}

impl Settings {
    /// Reads the values for a daemon on a host.
    pub(crate) fn new(values: &Values, daemon: &str, hostname: &str) -> Self {
        let mut reader = Reader {
            values,
            problems: Vec::new(),
            warnings: Vec::new(),
        };
        let copies = reader.copies();
        if values.get("CREDMON_HTVAULT_METRICS_ADDRESS").is_some() {
            reader.warnings.push(
                "CREDMON_HTVAULT_METRICS_ADDRESS is no setting any more: this daemon listens \
                 nowhere; name a CREDMON_HTVAULT_METRICS_FILE for node_exporter instead"
                    .to_owned(),
            );
        }
        let path = |name: &str| values.get(name).map(PathBuf::from);
        let debug = values.get(&format!("{daemon}_DEBUG")).unwrap_or_default();
        let in_log = |log: PathBuf| log.join(log_name(daemon));
        Self {
            directory: path("SEC_CREDENTIAL_DIRECTORY_OAUTH")
                .or_else(|| path("SEC_CREDENTIAL_DIRECTORY")),
            rules: Rules {
                limits: reader.limits(),
                routing: reader.routing(),
                trusted_hosts: reader.trusted_hosts(),
                delete_dead: reader.flag("CREDMON_HTVAULT_DELETE_DEAD", false),
                request_limit: reader.request_limit(),
                hostname: hostname.to_owned(),
            },
            tls: TlsSettings {
                ca_file: path("AUTH_SSL_CLIENT_CAFILE"),
                ca_dir: path("AUTH_SSL_CLIENT_CADIR")
                    .or_else(|| Some(PathBuf::from(GRID_AUTHORITIES))),
            },
            log: path(&format!("{daemon}_LOG")).or_else(|| path("LOG").map(in_log)),
            outputs: Outputs {
                status_file: status_file(values),
                status_mode: reader.status_mode(),
                metrics_file: path("CREDMON_HTVAULT_METRICS_FILE"),
                metrics_per_credential: reader.flag("CREDMON_HTVAULT_METRICS_PER_CREDENTIAL", true),
            },
            copies,
            confine: reader.flag("CREDMON_HTVAULT_CONFINE", true),
            full_debug: debug.to_ascii_uppercase().contains("D_FULLDEBUG"),
            problems: reader.problems,
            warnings: reader.warnings,
        }
    }
}

/// File that the `status` command reads. Nothing is looked up for it.
pub(crate) fn status_file(values: &Values) -> Option<PathBuf> {
    let in_run = |run: &str| Path::new(run).join("credmon_htvault.status");
    let named = values.get("CREDMON_HTVAULT_STATUS_FILE").map(PathBuf::from);
    named.or_else(|| values.get("RUN").map(in_run))
}

/// Name of the log when the configuration gives none: HTCondor's own for the usual daemon, else made
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

/// Reads single settings and collects what is wrong with them.
struct Reader<'v> {
    values: &'v Values,
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl Reader<'_> {
    /// Reads one setting. `what`: what is wrong with a value that cannot be parsed.
    fn read<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Option<T>,
        default: T,
        (what, instead): (&str, &str),
    ) -> T {
        let Some(text) = self.values.get(name) else {
            return default;
        };
        parse(text).unwrap_or_else(|| {
            self.warnings
                .push(format!("{name} = {text:?} {what}; {instead}"));
            default
        })
    }

    fn limits(&mut self) -> Limits {
        let default = Limits::default();
        let minimum = self.product("CREDMON_OAUTH_TOKEN_MINIMUM", default.minimum);
        let refresh = self.product("CREDMON_OAUTH_TOKEN_REFRESH", (minimum / 2).max(1));
        Limits { minimum, refresh }
    }

    /// A number of seconds, or a product of numbers such as `40 * 60`, up to some 68 years.
    fn product(&mut self, name: &str, default: i64) -> i64 {
        let factor = |factor: &str| factor.trim().parse::<u32>().ok();
        let multiply = |product: i64, text: &str| product.checked_mul(factor(text)?.into());
        let parse = |text: &str| {
            let product = text.split('*').try_fold(1_i64, multiply);
            product.filter(|p| (1..=i64::from(i32::MAX)).contains(p))
        };
        let instead = format!("{default} is used");
        let complaint = ("is no number of seconds above 0", &*instead);
        self.read(name, parse, default, complaint)
    }

    /// `300/5m`: so many requests in any span of that length.
    fn request_limit(&mut self) -> Option<(u32, u64)> {
        let parse = |text: &str| {
            let (limit, per) = text.split_once('/')?;
            let limit = limit.trim().parse().ok().filter(|&limit| limit > 0)?;
            let per = u64::try_from(seconds(per.trim()).ok()?).ok()?;
            (per > 0).then_some(Some((limit, per)))
        };
        let complaint = ("is no bound such as 300/5m", "requests are not bounded");
        self.read("CREDMON_HTVAULT_REQUEST_LIMIT", parse, None, complaint)
    }

    /// Hosts as in URLs. An entry that can never match is reported: it would look as if a Vault were
    /// refused for another reason.
    fn trusted_hosts(&mut self) -> Option<Vec<String>> {
        const NAME: &str = "TRUSTED_VAULT_HOSTS";
        let text = self.values.get(NAME)?;
        let hosts: Vec<String> = list(text).collect();
        let is_host = |host: &String| {
            host.chars()
                .all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c))
                || (host.starts_with('[') && host.ends_with(']'))
        };
        if let Some(odd) = hosts.iter().find(|host| !is_host(host)) {
            self.problems.push(format!(
                "{NAME} = {text:?} holds {odd:?}, which is no host name and trusts nobody; write host \
                 names alone, without scheme or port, separated by commas or blanks"
            ));
        }
        Some(hosts)
    }

    fn status_mode(&mut self) -> u32 {
        let parse = |text: &str| {
            let bits = u32::from_str_radix(text, 8).ok();
            bits.filter(|bits| bits & !0o666 == 0)
        };
        let complaint = ("is no mode such as 0644 or 0640", "0644 is used");
        self.read("CREDMON_HTVAULT_STATUS_MODE", parse, 0o644, complaint)
    }

    fn copies(&mut self) -> Vec<TokenCopy> {
        const NAME: &str = "CREDMON_HTVAULT_COPIES";
        let mut faults = Vec::new();
        let parsed = copies::parse(self.values.get(NAME).unwrap_or_default(), &mut faults);
        let named = faults.into_iter();
        self.warnings
            .extend(named.map(|fault| format!("{NAME}: {fault}; it is left out")));
        parsed
    }

    fn routing(&mut self) -> Routing {
        let values = self.values;
        let listed = |name: &str| values.get(name).into_iter().flat_map(list);
        let mut others: BTreeSet<String> = [
            "LOCAL_CREDMON_PROVIDER_NAME",
            "LOCAL_CREDMON_PROVIDER_NAMES",
            "OAUTH2_CREDMON_PROVIDER_NAMES",
            "CLIENT_CREDMON_PROVIDER_NAMES",
            "PELICAN_CREDMON_PROVIDER_NAMES",
        ]
        .into_iter()
        .flat_map(listed)
        .collect();
        // In another monitor's list it means "all that nobody else claims", which are ours.
        others.remove("*");
        let special_characters = self.flag("CREDMON_ALLOW_SPECIAL_CHAR_NAMES", false);
        let names = match NameStyle::of_version(values.get("CONDOR_VERSION")) {
            NameStyle::Parted if special_characters => NameStyle::Exact,
            names => names,
        };
        let client_ids = values
            .names()
            .filter_map(|name| name.strip_suffix("_CLIENT_ID"));
        Routing {
            ours: listed("VAULT_CREDMON_PROVIDER_NAMES").collect(),
            others,
            with_client_id: client_ids.map(str::to_owned).collect(),
            names,
        }
    }

    fn flag(&mut self, name: &str, default: bool) -> bool {
        let parse = |text: &str| match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "1" => Some(true),
            "false" | "f" | "no" | "n" | "0" => Some(false),
            _ => None,
        };
        let instead = format!("{default} is used");
        self.read(
            name,
            parse,
            default,
            ("is neither true nor false", &instead),
        )
    }
}

/// Words between commas and blanks.
fn list(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| c == ',' || c.is_whitespace());
    words.filter(|word| !word.is_empty()).map(str::to_owned)
}

/// Parses a span of time: a number with `s`, `m`, `h` or `d`.
pub(crate) fn seconds(text: &str) -> Result<i64, &'static str> {
    const EXPECTED: &str = "expected a number with s, m, h or d, such as 20m";
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: i64 = match text.get(digits.len()..) {
        Some("" | "s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        Some("d") => 86_400,
        _ => return Err(EXPECTED),
    };
    let number: u32 = digits.parse().map_err(|_| EXPECTED)?;
    i64::from(number).checked_mul(unit).ok_or(EXPECTED)
}

#[cfg(test)]
mod tests;
