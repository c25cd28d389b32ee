//! A real MIT key distribution centre for the realm `TEST`, on a loopback address.
//!
//! Owns a folder with its database, its configuration and the `krb5.conf` that clients are
//! pointed to. What always holds: no file outside that folder is read or written, not even
//! `/etc/krb5.conf`; it listens on [`ADDRESS`] alone, on a port that was free; no name server is
//! asked. Its programs come from `integration/setup/packages`.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::process::Command;

use crate::address::{self, Protocol};
use crate::process::Daemon;

/// The realm.
pub const REALM: &str = "TEST";
/// The address of `kdc.test`.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 83, 0, 20);

const DEADLINE: Duration = Duration::from_secs(30);

/// A key distribution centre.
#[derive(Debug)]
pub struct Kdc {
    folder: PathBuf,
    listen: SocketAddr,
    programs: Programs,
    daemon: Option<Daemon>,
}

impl Kdc {
    /// Makes a database in `folder` (which is made too) and starts the KDC on it.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let programs = Programs::find()?;
        let kdc = Self {
            folder: folder.to_owned(),
            listen: SocketAddr::from((ADDRESS, free_port()?)),
            programs,
            daemon: None,
        };
        kdc.write_configuration()?;
        run(kdc
            .program("kdb5_util")
            .args(["create", "-s", "-r", REALM, "-P", "only for tests"]))
        .await
        .context("cannot make the database of the KDC")?;
        let mut kdc = kdc;
        kdc.resume().await?;
        Ok(kdc)
    }

    /// The configuration for clients: the value of `KRB5_CONFIG`.
    #[must_use]
    pub fn krb5_conf(&self) -> PathBuf {
        self.folder.join("krb5.conf")
    }

    /// Makes this realm the one that the present process sees (`KRB5_CONFIG` of the sandbox), for
    /// tests that use the Kerberos library themselves.
    pub fn use_here(&self) -> anyhow::Result<()> {
        let here = std::env::var_os("KRB5_CONFIG").context("the sandbox sets KRB5_CONFIG")?;
        fs::copy(self.krb5_conf(), &here)
            .with_context(|| format!("cannot write {}", here.display()))?;
        Ok(())
    }

    /// Adds a principal with a random key and writes that into a new keytab, mode 0600.
    ///
    /// A principal that exists already keeps its key.
    pub async fn add_principal_with_keytab(
        &self,
        principal: &str,
        keytab: &Path,
    ) -> anyhow::Result<()> {
        ensure!(
            !keytab.exists(),
            "{} exists: a keytab is written once",
            keytab.display()
        );
        let answer = self.admin(&format!("addprinc -randkey {principal}")).await;
        if let Err(error) = answer
            && !format!("{error:#}").contains("already exists")
        {
            return Err(error);
        }
        self.admin(&format!(
            "ktadd -norandkey -k {} {principal}",
            keytab.display()
        ))
        .await?;
        ensure!(
            keytab.exists(),
            "kadmin.local wrote no keytab for {principal}"
        );
        Ok(())
    }

    /// Runs one command of `kadmin.local`, for example `modprinc -allow_tix cmsprod`; gives its output.
    pub async fn admin(&self, query: &str) -> anyhow::Result<String> {
        let output = run(self
            .program("kadmin.local")
            .args(["-r", REALM, "-q", query]))
        .await
        .with_context(|| format!("kadmin.local: {query}"))?;
        // It says what went wrong in words, and in its exit code not always.
        if let Some(line) = output
            .lines()
            .find(|line| line.contains(" while ") || line.starts_with("kadmin.local: "))
        {
            bail!("kadmin.local: {query}: {line}");
        }
        Ok(output)
    }

    /// A command of the KDC's package (`kinit`, `klist`) as a client of this realm.
    #[must_use]
    pub fn program(&self, name: &str) -> Command {
        let mut command = self.programs.command(name);
        command
            .env("KRB5_CONFIG", self.krb5_conf())
            .env("KRB5_KDC_PROFILE", self.folder.join("kdc.conf"))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Stops it, for a test of an outage. The database stays.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.stop().await?;
        }
        Ok(())
    }

    /// Starts it again after [`Kdc::stop`], on the same port. Does nothing while it runs.
    pub async fn resume(&mut self) -> anyhow::Result<()> {
        if self.daemon.is_some() {
            return Ok(());
        }
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            address::require_free("krb5kdc", protocol, self.listen)?;
        }
        let mut command = self.program("krb5kdc");
        command
            .args(["-n", "-r", REALM, "-P"])
            .arg(self.folder.join("kdc.pid"));
        let daemon = Daemon::spawn("krb5kdc", command, &self.folder.join("kdc.log"))?;
        daemon
            .wait_for_line("commencing operation", DEADLINE)
            .await?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Where it listens, for UDP and TCP.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// The running KDC, with its log: each request is a line of it.
    #[must_use]
    pub fn daemon(&self) -> Option<&Daemon> {
        self.daemon.as_ref()
    }

    fn write_configuration(&self) -> anyhow::Result<()> {
        let folder = self.folder.display();
        let listen = self.listen;
        let client = format!(
            "[libdefaults]
    default_realm = {REALM}
    default_ccache_name = MEMORY:nobody
    dns_lookup_kdc = false
    dns_lookup_realm = false
    dns_canonicalize_hostname = false
    rdns = false
    qualify_shortname = \"\"
    forwardable = false
[realms]
    {REALM} = {{
        kdc = {listen}
    }}
[domain_realm]
    .test = {REALM}
"
        );
        // Without `disable_pac` OpenBao's Kerberos library refuses the tickets of MIT 1.20.
        let server = format!(
            "[kdcdefaults]
    kdc_listen = {listen}
    kdc_tcp_listen = {listen}
[realms]
    {REALM} = {{
        database_name = {folder}/principal
        key_stash_file = {folder}/stash
        acl_file = {folder}/kadm5.acl
        supported_enctypes = aes256-cts-hmac-sha1-96:normal aes128-cts-hmac-sha1-96:normal
        master_key_type = aes256-cts-hmac-sha1-96
        default_principal_flags = +preauth
        max_life = 24h
        disable_pac = true
    }}
[dbmodules]
    db_module_dir = {modules}
[logging]
    kdc = STDERR
    admin_server = FILE:{folder}/kadmin.log
    default = FILE:{folder}/krb5.log
",
            modules = self.programs.modules.display(),
        );
        for (name, text) in [("krb5.conf", client), ("kdc.conf", server)] {
            let file = self.folder.join(name);
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(())
    }
}

/// The unpacked Debian packages of the KDC.
#[derive(Debug)]
struct Programs {
    root: PathBuf,
    libraries: PathBuf,
    modules: PathBuf,
}

impl Programs {
    fn find() -> anyhow::Result<Self> {
        let root = std::env::var_os("TOKEN_BASTION_KRB5").map(PathBuf::from).context(
            "TOKEN_BASTION_KRB5 is not set: run this by integration/test, or by integration/setup/sandbox",
        )?;
        let missing = || {
            format!(
                "no KDC's programs in {}: run integration/setup/packages",
                root.display()
            )
        };
        // usr/lib/x86_64-linux-gnu, or whatever this machine is.
        let libraries = fs::read_dir(root.join("usr/lib"))
            .with_context(missing)?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.join("krb5/plugins/kdb").is_dir())
            .with_context(missing)?;
        let modules = libraries.join("krb5/plugins/kdb");
        Ok(Self {
            root,
            libraries,
            modules,
        })
    }

    fn command(&self, name: &str) -> Command {
        let program = ["usr/sbin", "usr/bin"]
            .map(|folder| self.root.join(folder).join(name))
            .into_iter()
            .find(|path| path.exists())
            .unwrap_or_else(|| PathBuf::from(name));
        let mut command = Command::new(program);
        command.env("LD_LIBRARY_PATH", &self.libraries);
        command
    }
}

/// A port that is free for UDP and TCP at once.
fn free_port() -> anyhow::Result<u16> {
    for _ in 0..100 {
        let tcp = TcpListener::bind((ADDRESS, 0)).context("cannot bind a port for the KDC")?;
        let port = tcp
            .local_addr()
            .context("a bound port has a number")?
            .port();
        if UdpSocket::bind((ADDRESS, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free for both UDP and TCP on {ADDRESS}")
}

/// Runs a command to its end; what it printed on both streams, or an error that has it.
async fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .output()
        .await
        .with_context(|| format!("cannot run {:?}", command.as_std()))?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    ensure!(
        output.status.success(),
        "{}: {}",
        output.status,
        text.trim_end()
    );
    Ok(text)
}
