//! The whole chain with everybody as talkative as can be: KDC, a Vault behind a front that sees each secret, a pool
//! whose daemons log everything, a bastion under a user of its own, HTCondor's credmon slot served by ours.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, ensure};
use integration::chain::{Chain, Lives, installed, program};
use integration::ended;
use integration::hostile::{Front, Handling};
use integration::pool::{CREDMON, Pool};
use integration::process::Daemon;
use integration::{sandbox, wait};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::Command;

use super::known::{Kind, Known};
use super::search::Seen;

pub use integration::wait::FAR;
/// The user that the service runs as, as the unit has it.
pub const USER: &str = "token-bastion";
/// The folder of that user, and of its service.
pub const HOME: &str = "/home/token-bastion";
/// What HTCondor's tools were started with, noted before they begin.
const STARTED: &str = "/var/log/condor/started";
/// The tools that bastion and credmon start.
const TOOLS: [&str; 3] = [
    "sbin/condor_store_cred",
    "bin/condor_status",
    "bin/condor_config_val",
];
const CONFIG: &str = "/etc/token-bastion/token-bastion.yaml";
const SOCKET: &str = "/run/token-bastion/control";
const LISTEN: &str = "127.0.0.1:9118";
/// Where the front is, and the Vault behind it.
const FRONT: &str = "127.83.0.1:8200";
const BEHIND: &str = "127.83.0.2:8200";
const BEHIND_URL: &str = "https://vault2.test:8200";

pub struct Stage {
    pub bastion: Daemon,
    pub pool: Pool,
    pub front: Front,
    pub chain: Chain,
    pub known: Arc<Known>,
    /// What commands printed and servers answered, by a name.
    said: Mutex<Vec<(String, Vec<u8>)>>,
    folder: tempfile::TempDir,
}

impl Stage {
    pub async fn set(transport: &str) -> anyhow::Result<Self> {
        let folder = sandbox::new_folder()?;
        let chain = Chain::start_cluster(folder.path(), Lives::QUICK, &[BEHIND]).await?;
        let known = Arc::new(Known::default());
        let front =
            Front::start(&chain.ca, &[FRONT.parse()?], BEHIND_URL, |_| Handling::Pass).await?;
        let watcher = Arc::clone(&known);
        front.watch(move |headers, body| watcher.see(headers, body));

        let mut options = installed::pool_options(&chain)?;
        options.users.push(USER.to_owned());
        // Whoever has a credential in hand; the others' logs would be as large again.
        let talkative = ["MASTER", "CREDD", "SCHEDD", "SHADOW", "STARTD", "STARTER"];
        let debug = talkative.map(|daemon| format!("{daemon}_DEBUG = D_ALL:2"));
        options.configuration.extend(debug);
        let more = ["MAX_DEFAULT_LOG = 1 Gb", "CREDMON_OAUTH_ARGS = -d -v"];
        options.configuration.extend(more.map(str::to_owned));
        let pool = Pool::start(&folder.path().join("pool"), &chain.ca, &options).await?;
        note_starts(&pool).await?;
        install(&chain, &pool, transport).await?;
        for entry in fs::read_dir(chain.keytabs())? {
            for key in keys(&chain, &entry?.path()).await? {
                known.learn(Kind::Key, &key);
            }
        }
        let bastion = start(&pool, &folder.path().join("bastion.log"))?;
        Ok(Self {
            bastion,
            pool,
            front,
            chain,
            known,
            said: Mutex::default(),
            folder,
        })
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn note(&self, name: &str, said: Vec<u8>) {
        self.said.lock().unwrap().push((name.to_owned(), said));
    }

    pub fn said(&self) -> Vec<(String, Vec<u8>)> {
        self.said.lock().unwrap().clone()
    }

    /// Runs a command of the bastion that says all it can; keeps what it said.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
        let output = ended::output(bastion(&self.pool, arguments), FAR).await?;
        let name = format!("token-bastion {}", arguments.join(" "));
        self.note(&format!("stdout of {name}"), output.stdout.clone());
        self.note(&format!("stderr of {name}"), output.stderr.clone());
        Ok((
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        ))
    }

    /// Runs any command in the pool; keeps what it said.
    pub async fn run_as(&self, user: &str, command: &[&str]) -> anyhow::Result<Option<i32>> {
        let answer = self.pool.run(user, command).await?;
        self.note(
            &answer.command,
            format!("{}{}", answer.stdout, answer.stderr).into_bytes(),
        );
        Ok(answer.code)
    }

    /// Asks both servers of the service for a path.
    pub async fn get(&self, path: &str) -> anyhow::Result<()> {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let mut answers = [Vec::new(), Vec::new()];
        let mut network = TcpStream::connect(LISTEN).await?;
        network.write_all(request.as_bytes()).await?;
        network.read_to_end(&mut answers[0]).await?;
        let mut control = UnixStream::connect(self.pool.path(SOCKET)).await?;
        control.write_all(request.as_bytes()).await?;
        control.read_to_end(&mut answers[1]).await?;
        for answer in answers {
            ensure!(answer.starts_with(b"HTTP/1.1 "), "{path}: {answer:?}");
            self.note(path, answer);
        }
        Ok(())
    }

    /// Waits until all deliveries are good.
    pub async fn all_good(&self) -> anyhow::Result<()> {
        let done = wait::until("all deliveries to be good", FAR, async || {
            let (_, text) = self.run(&["status", "--json"]).await?;
            let status: Value = serde_json::from_str(&text)?;
            let lines = status["deliveries"].as_array().context("no deliveries")?;
            let good = lines.iter().filter(|line| line["state"] == "good").count();
            ensure!(good == 3, "{good} are good: {}", status["problems"]);
            Ok(())
        });
        done.await.with_context(|| self.bastion.tail(15))
    }

    /// Onboards an account with somebody who logs in.
    pub async fn onboard(&self, account: &str) -> anyhow::Result<()> {
        let mut command = bastion(&self.pool, &["onboard", "--json", "--account", account]);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (mut text, mut errors) = (Vec::new(), Vec::new());
        let talk = async {
            let mut is_approved = false;
            while stdout.read_buf(&mut text).await? != 0 {
                let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
                if !is_approved && let Ok(link) = serde_json::from_slice::<Value>(line) {
                    is_approved = true;
                    self.approve(&link, account).await?;
                }
            }
            anyhow::Ok(())
        };
        let (talked, read) = tokio::join!(talk, stderr.read_to_end(&mut errors));
        talked?;
        read?;
        let status = child.wait().await?;
        let said = String::from_utf8_lossy(&text).into_owned();
        self.note("stdout of onboard", text);
        self.note("stderr of onboard", errors);
        ensure!(said.contains("\"stored\":true"), "{status}: {said}");
        Ok(())
    }

    async fn approve(&self, link: &Value, person: &str) -> anyhow::Result<()> {
        let trust =
            integration::dev::tls::client(&self.chain.ca.file()).map_err(anyhow::Error::msg)?;
        let browser = reqwest::Client::builder()
            .tls_backend_preconfigured(trust)
            .no_proxy()
            .build()?;
        let page = link["url"]
            .as_str()
            .context("no link")?
            .split('?')
            .next()
            .unwrap_or_default();
        let code = link["user_code"].as_str().context("no code")?;
        let form = format!("user_code={code}&credkey={person}&action=approve");
        let post = browser
            .post(page)
            .header("Content-Type", "application/x-www-form-urlencoded");
        ensure!(post.body(form).send().await?.status().is_success());
        Ok(())
    }

    /// What HTCondor's tools were started with.
    pub fn started(&self) -> BTreeSet<Seen> {
        let mut seen = BTreeSet::new();
        for entry in fs::read_dir(self.pool.path(STARTED)).unwrap() {
            let path = entry.unwrap().path();
            // TOOL.PROCESS.WHAT
            let name = path.file_name().unwrap().to_str().unwrap();
            let name = name.split('.').next().unwrap().to_owned();
            let what = if path.extension().unwrap() == "cmdline" {
                "cmdline"
            } else {
                "environ"
            };
            seen.insert((name, what, fs::read(path).unwrap()));
        }
        seen
    }

    /// Where the notes of [`Stage::started`] are, for a search to leave them out.
    pub fn notes(&self) -> PathBuf {
        self.pool.path(STARTED)
    }
}

/// A command of the bastion as its user; its files may be as large as they like, those with its memory too.
fn bastion(pool: &Pool, arguments: &[&str]) -> Command {
    let mut command = pool.command(USER, "/usr/sbin/token-bastion");
    command
        .args(["--config", CONFIG, "-vv"])
        .args(arguments)
        .env("KRB5_TRACE", format!("{HOME}/kerberos.trace"))
        .env("RUST_LOG", "trace")
        .env("RUST_BACKTRACE", "full");
    command
}

fn start(pool: &Pool, log: &Path) -> anyhow::Result<Daemon> {
    Daemon::spawn("token-bastion", bastion(pool, &["run"]), log)
}

/// Program, keytabs and configuration as an admin installs them.
async fn install(chain: &Chain, pool: &Pool, transport: &str) -> anyhow::Result<()> {
    // Program, keytabs, configuration: root's.
    installed::bastion(chain, pool)?;
    fs::copy(
        program("token-bastion")?,
        pool.path("/usr/sbin/token-bastion"),
    )?;
    let credds = installed::credds(pool);
    let places = installed::places(&format!("{credds}, transport: {transport}"));
    let yaml = format!(
        "{}listen: {{address: \"{LISTEN}\"}}\n",
        chain.bastion_yaml(&places)
    );
    installed::configure(pool, &yaml)?;
    for folder in [
        "/etc/token-bastion",
        "/run/token-bastion",
        "/var/lib/token-bastion",
    ] {
        fs::create_dir_all(pool.path(folder))?;
        let owner = format!("{USER}:{USER}");
        pool.run("root", &["chown", "-R", &owner, folder])
            .await?
            .success()?;
    }
    let private = fs::Permissions::from_mode(0o700);
    fs::set_permissions(pool.path("/var/lib/token-bastion"), private)?;
    Ok(())
}

/// Puts something before HTCondor's tools that notes arguments and environment, then becomes the tool.
async fn note_starts(pool: &Pool) -> anyhow::Result<()> {
    for folder in [STARTED, "/opt/tools"] {
        fs::create_dir_all(pool.path(folder))?;
        fs::set_permissions(pool.path(folder), fs::Permissions::from_mode(0o1777))?;
    }
    for tool in TOOLS {
        let at = format!("/usr/{tool}");
        let tool = tool.rsplit('/').next().unwrap_or(tool);
        let to = format!("/opt/tools/{tool}");
        pool.run("root", &["mv", &at, &to]).await?.success()?;
        let script = format!(
            "#!/bin/sh\nfor what in cmdline environ; do cat /proc/$$/$what 2>/dev/null >{STARTED}/{tool}.$$.$what; done\n\
             exec {to} \"$@\"\n"
        );
        fs::write(pool.path(&at), script)?;
        fs::set_permissions(pool.path(&at), fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// The keys in a keytab, as MIT's own tool shows them.
async fn keys(chain: &Chain, keytab: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut klist = chain.kdc.program("klist");
    let output = klist.args(["-k", "-K"]).arg(keytab).output().await?;
    let text = String::from_utf8(output.stdout)?;
    let digits = text
        .split("(0x")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let keys: Vec<Vec<u8>> = digits
        .map(bytes)
        .collect::<Option<_>>()
        .context("no digits")?;
    ensure!(!keys.is_empty(), "no key in {}", keytab.display());
    Ok(keys)
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = (0..digits.len())
        .step_by(2)
        .map(|at| digits.get(at..at + 2));
    pairs
        .map(|pair| u8::from_str_radix(pair?, 16).ok())
        .collect()
}

/// The credmon's `status`, as an account asks.
pub fn credmon_status(json: bool) -> Vec<&'static str> {
    let mut command = vec![CREDMON, "status"];
    command.extend(json.then_some("--json"));
    command
}
