//! What is written into a pool's root before its master starts.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::os::unix::fs::{PermissionsExt as _, chown};

use anyhow::Context as _;

use super::root::Root;
use super::{CREDENTIALS, CREDMON, Credmon, Options, Release};
use crate::ca::Ca;

/// Makes a pristine root the one that `options` describe.
pub(super) async fn write(root: &Root, ca: &Ca, options: &Options) -> anyhow::Result<()> {
    // The sandbox's own names.
    let hosts = fs::read("/etc/hosts").context("cannot read /etc/hosts")?;
    root.write("/etc/hosts", hosts)?;
    trust(root, ca)?;

    let issued = ca.issue(&[&options.host])?;
    for (file, inside) in [
        (&issued.certificate, "/etc/condor/test/host.crt"),
        (&issued.key, "/etc/condor/test/host.key"),
        (&ca.file(), "/etc/condor/test/ca.pem"),
    ] {
        let content = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        root.write(inside, content)?;
    }
    let key = root.path("/etc/condor/test/host.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("cannot protect {}", key.display()))?;

    for user in &options.users {
        root.run("root", &["useradd", "--create-home", user], "")
            .await?
            .success()?;
    }
    let mut map = String::new();
    for line in &options.map {
        // A regular expression: without its ends `bench10` takes `bench100`, too.
        writeln!(
            map,
            "SCITOKENS ^{},{}$ {}",
            line.issuer, line.subject, line.account
        )?;
    }
    for member in &options.members {
        writeln!(map, "SSL \"^/CN={member}$\" condor")?;
    }
    root.write("/etc/condor/mapfile", map)?;

    let credmon = match &options.credmon {
        Credmon::Absent => None,
        Credmon::Reference => Some("/usr/sbin/condor_credmon_vault"),
        Credmon::Program(program) => {
            let inside = root.path(CREDMON);
            fs::copy(program, &inside)
                .with_context(|| format!("cannot copy {} into the pool", program.display()))?;
            fs::set_permissions(&inside, fs::Permissions::from_mode(0o755))
                .with_context(|| format!("cannot make {} a program", inside.display()))?;
            Some(CREDMON)
        }
    };
    make_credential_directory(root)?;
    let address = address(&options.host)?;
    root.write(
        "/etc/condor/config.d/50-test.conf",
        configuration(options, address, credmon),
    )
}

/// The whole configuration. Its order counts: `use role:` sets names that lines below set anew.
fn configuration(options: &Options, address: IpAddr, credmon: Option<&str>) -> String {
    let host = &options.host;
    let (manager, daemons, family) = match &options.manager {
        None => (host, "COLLECTOR NEGOTIATOR SCHEDD STARTD CREDD", ""),
        // All hosts of a sandbox look like one to HTCondor: only the certificate shows which it is.
        Some(manager) => (
            manager,
            "SCHEDD CREDD",
            "SEC_USE_FAMILY_SESSION = False
SEC_CLIENT_AUTHENTICATION_METHODS = FS, SSL
AUTH_SSL_CLIENT_CERTFILE = /etc/condor/test/host.crt
AUTH_SSL_CLIENT_KEYFILE = /etc/condor/test/host.key
",
        ),
    };
    // The same under the name that the release has for it; and without the list `condor_submit` asks
    // SEC_CREDENTIAL_STORER alone whether there is a Vault, where it knows the list.
    let (security, providers) = match options.release {
        Release::Current => ("recommended", "VAULT_CREDMON_PROVIDER_NAMES = *\n"),
        Release::Older => ("recommended_v9_0", ""),
    };
    let (daemon, program) = match credmon {
        Some(program) => (" CREDMON_OAUTH", format!("CREDMON_OAUTH = {program}\n")),
        None => ("", String::new()),
    };
    format!(
        "use security:{security}
use role:Personal
CONDOR_HOST = {manager}
COLLECTOR_HOST = {manager}:9618
DAEMON_LIST = MASTER {daemons}{daemon}
{program}{family}NETWORK_INTERFACE = {address}
BIND_ALL_INTERFACES = False
ENABLE_IPV6 = False
NETWORK_HOSTNAME = {host}
SEC_CREDENTIAL_DIRECTORY_OAUTH = {CREDENTIALS}
TRUST_CREDENTIAL_DIRECTORY = True
{providers}AUTH_SSL_SERVER_CERTFILE = /etc/condor/test/host.crt
AUTH_SSL_SERVER_KEYFILE = /etc/condor/test/host.key
AUTH_SSL_SERVER_CAFILE = /etc/condor/test/ca.pem
CERTIFICATE_MAPFILE = /etc/condor/mapfile
# The kernel is the machine's own, not the pool's to tune.
ENABLE_KERNEL_TUNING = False
# A sandbox cannot give jobs mounts of their own.
PER_JOB_NAMESPACES = False
MOUNT_UNDER_SCRATCH =
MOUNT_PRIVATE_DEV_SHM = False
# Quick to match, to restart a daemon, and to hand a new token to a running job.
NUM_CPUS = 4
NEGOTIATOR_INTERVAL = 2
NEGOTIATOR_CYCLE_DELAY = 1
NEGOTIATOR_MIN_INTERVAL = 1
MASTER_BACKOFF_CONSTANT = 1
SEC_CREDENTIAL_REFRESH = 5
{}\n",
        options.configuration.join("\n")
    )
}

/// Adds the authority to what programs in the root trust by default.
fn trust(root: &Root, ca: &Ca) -> anyhow::Result<()> {
    let bundle = "/etc/ssl/certs/ca-certificates.crt";
    let mut all = fs::read_to_string(root.path(bundle)).unwrap_or_default();
    all.push_str(ca.pem());
    root.write(bundle, all)
}

/// As an admin would: `install -d -o root -g condor -m 2770`.
fn make_credential_directory(root: &Root) -> anyhow::Result<()> {
    let folder = root.path(CREDENTIALS);
    let group = group_id(root, "condor")?;
    let make = || -> std::io::Result<()> {
        fs::create_dir_all(&folder)?;
        chown(&folder, Some(0), Some(group))?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o2770))
    };
    make().with_context(|| format!("cannot make {}", folder.display()))
}

fn group_id(root: &Root, name: &str) -> anyhow::Result<u32> {
    let file = root.path("/etc/group");
    let text =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    text.lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&name))
        .and_then(|fields| fields.get(2).and_then(|id| id.parse().ok()))
        .with_context(|| format!("{} has no group {name}", file.display()))
}

pub(super) fn address(host: &str) -> anyhow::Result<IpAddr> {
    (host, 9618)
        .to_socket_addrs()
        .with_context(|| format!("the sandbox gives {host} no address"))?
        .next()
        .map(|address| address.ip())
        .with_context(|| format!("the sandbox gives {host} no address"))
}
