//! Credds, reached with the site's own `condor_store_cred`, and schedds found with its `condor_status`.
//!
//! Always true: no token is in an argument or a file. The access token that opens the credd is in the tool's
//! environment (`BEARER_TOKEN`), what is stored goes through its standard input. Each call names the account
//! that is meant: a credd of any version refuses that to another one.

mod answer;
mod collector;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod refusals;
mod tool;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use htvault::AccessToken;
use secrecy::ExposeSecret as _;

use super::Observation;
use super::credd::{self, Again, CreddFailure, CreddRequest, Operation, method_name};
use crate::model::delivery::Method;
use crate::model::problem::{Cause, Kind, Problem};
use collector::ToolCollector;
use tool::{ToolCall, ToolOutput, ToolServer, Tools};

const TOOL: &str = "condor_store_cred";
/// Deadline of one run: the credd itself waits 20 s for its credmon.
const DEADLINE: Duration = Duration::from_mins(1);
/// Domain of an account where none is configured: a credd compares the part before it alone.
const ANY_DOMAIN: &str = "any";
const COLLECTOR_HOST: &str = "_CONDOR_COLLECTOR_HOST";

/// Path of the tool on this host.
///
/// # Errors
/// It is missing; the words say what to do.
pub(crate) fn tool_path() -> Result<PathBuf, String> {
    let folders = std::env::var_os("PATH");
    tool::path_of(TOOL, folders.as_deref()).ok_or_else(|| tool::not_found(TOOL))
}

#[derive(Default)]
pub(super) struct Condor(Tools);

impl Condor {
    pub(super) fn collector<'a>(&'a self, name: Option<&'a str>) -> ToolCollector<'a> {
        let tools = &self.0;
        ToolCollector { tools, name }
    }

    /// Carries a request out at the credd with this address, or at that of the name. Returns what it has, for a query.
    pub(super) async fn run(
        &self,
        request: &CreddRequest<'_>,
        address: Option<&str>,
        opener: Option<&AccessToken>,
    ) -> Result<Observation, CreddFailure> {
        if request.authentication.method == Method::Kerberos && !nix::unistd::geteuid().is_root() {
            let words = "`authenticate: kerberos` works for root alone, whose tools log in by keytab in memory; run the \
                         service as root, or take another method";
            return Err(request.problem(Kind::Transport, words).into());
        }
        let output = self.run_until_explained(request, address, opener).await?;
        if let Operation::Query = request.operation {
            request.check_output(&output)?;
            return Ok(output.observed(&request.delivery.id.service));
        }
        Ok(Observation::default())
    }

    /// Runs the tool, and after a failure once more: reasons are printed only with `-d`, which costs half as
    /// much again. A second run does no harm, for each brings about a state, however often it is made.
    async fn run_until_explained(
        &self,
        request: &CreddRequest<'_>,
        address: Option<&str>,
        opener: Option<&AccessToken>,
    ) -> Result<ToolOutput, CreddFailure> {
        let output = self.run_once(request, address, opener, None).await?;
        if request.is_done(&output) {
            return Ok(output);
        }
        // The user for whom the credd takes us is printed only so, and is what a refusal leaves open.
        let debug = if output.is_not_allowed() {
            "D_SECURITY:2"
        } else {
            "D_SECURITY"
        };
        let output = self.run_once(request, address, opener, Some(debug)).await?;
        if request.is_done(&output) {
            return Ok(output);
        }
        request.check_output(&output)?;
        Err(CreddFailure {
            is_of_token: refusals::are_of_token(&output, request.authentication.method),
            ..failure(request.failure(&output, opener))
        })
    }

    async fn run_once(
        &self,
        request: &CreddRequest<'_>,
        address: Option<&str>,
        opener: Option<&AccessToken>,
        debug: Option<&str>,
    ) -> Result<ToolOutput, CreddFailure> {
        let CreddRequest { delivery, host, .. } = *request;
        let mut environment = request.environment(opener);
        let domain = request
            .authentication
            .domain
            .as_deref()
            .unwrap_or(ANY_DOMAIN);
        let account = format!("{}@{domain}", delivery.id.account);
        let mut arguments = Vec::new();
        if let Some(debug) = debug {
            arguments.push("-d");
            environment.push(("_CONDOR_TOOL_DEBUG", debug.into()));
        }
        let service = delivery.id.service.as_str();
        let mut input = "";
        match request.operation {
            // Without -s: the answer for one service compares scopes and audience first.
            Operation::Query => arguments.push("query-oauth"),
            Operation::Store(top) => {
                arguments.extend(["add-oauth", "-s", service, "-i", "-"]);
                input = top.expose_secret();
            }
            Operation::Delete => arguments.extend(["delete-oauth", "-s", service]),
        }
        arguments.extend(["-u", &account]);
        match address {
            // An address of a credd is taken as the name of a schedd, and of nothing else.
            Some(address) => arguments.extend(["-n", address]),
            None => environment.push(("_CONDOR_CREDD_HOST", host.into())),
        }
        let call = ToolCall {
            tool: TOOL,
            arguments,
            input,
            environment,
            deadline: DEADLINE,
            server: ToolServer {
                name: "the credd",
                silent: Kind::CreddDown,
            },
        };
        let output = self.0.run(call).await;
        output.map_err(|(kind, message)| failure(request.problem(kind, message)))
    }
}

/// A failure that may be another daemon's in the place of the credd, when it is one for everybody.
fn failure(problem: Problem) -> CreddFailure {
    let again = match problem.cause {
        Cause::Credd(_) => Again::Elsewhere,
        _ => Again::Nowhere,
    };
    CreddFailure {
        again,
        ..problem.into()
    }
}

impl CreddRequest<'_> {
    fn is_done(&self, output: &ToolOutput) -> bool {
        let is_storing = matches!(self.operation, Operation::Store(_));
        output.success || (output.is_nothing_there() && !is_storing)
    }

    /// Environment that says how this host shows who it is, and which collector is asked.
    fn environment(&self, opener: Option<&AccessToken>) -> Vec<(&'static str, OsString)> {
        let method = method_name(self.authentication.method);
        let mut all = vec![("_CONDOR_SEC_CLIENT_AUTHENTICATION_METHODS", method.into())];
        all.extend(self.collector.map(|name| (COLLECTOR_HOST, name.into())));
        all.extend(opener.map(|opener| ("BEARER_TOKEN", opener.expose().into())));
        if self.authentication.method == Method::Kerberos {
            // Root's tools log in by keytab themselves, and keep the ticket in their own memory.
            let identity = &self.delivery.credential.identity;
            let (keytab, principal) = (&identity.keytab, &identity.principal);
            all.push(("_CONDOR_KERBEROS_SERVER_KEYTAB", keytab.into()));
            all.push(("_CONDOR_KERBEROS_SERVER_PRINCIPAL", principal.into()));
        }
        all
    }

    fn failure(&self, output: &ToolOutput, opener: Option<&AccessToken>) -> Problem {
        let bearer = credd::bearer(opener);
        let method = self.authentication.method;
        let (kind, message) = refusals::explain(output, self.delivery, method, bearer.as_deref());
        self.problem(kind, format!("{TOOL}: {message}"))
    }

    /// Checks that the credd takes us for the account, where the output says for whom.
    fn check_output(&self, output: &ToolOutput) -> Result<(), Problem> {
        let user = output.user();
        if user.is_none() && !output.is_not_allowed() {
            return Ok(());
        }
        self.check_user(user)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::Stdio;

    use jiff::Timestamp;

    use super::*;
    use crate::fakes::Outside;
    use crate::fixtures::{credd, credd_by, delivery_to, search};
    use crate::schedd::discovery::{FoundSchedds, ScheddAd};
    use crate::schedd::{Place, Transport as _, Transports};
    use crate::store::Store;

    /// Message about an output, for an account `cmsprod`.
    fn told(method: Method, domain: Option<&str>, stdout: &str, stderr: &str) -> Option<String> {
        let delivery = delivery_to(credd_by("ap.test", method, domain));
        assert_eq!(delivery.id.account, "cmsprod");
        let output = ToolOutput {
            success: stderr.is_empty(),
            stdout: stdout.to_owned(),
            stderr: stderr.to_owned(),
        };
        let Place::Credd(request) = Place::of(&delivery, Operation::Query) else {
            panic!("{delivery:?}");
        };
        Some(request.check_output(&output).err()?.message)
    }

    #[tokio::test(start_paused = true)]
    async fn a_schedd_without_an_address_that_has_not_its_own_name_is_not_asked_for_by_it() {
        let crab = ScheddAd {
            name: "crab@ap.test".to_owned(),
            machine: "ap.test".to_owned(),
            matches: true,
            ..ScheddAd::default()
        };
        let mut found = FoundSchedds::default();
        found.take(vec![crab], Timestamp::UNIX_EPOCH, Duration::from_hours(1));
        let transports = Transports::new(Outside::new().sessions(Store::default()));
        transports.learn(&search(Vec::new()), &found);
        let delivery = delivery_to(credd("ap.test"));
        let Place::Credd(request) = Place::of(&delivery, Operation::Query) else {
            panic!("{delivery:?}");
        };
        let problem = transports.run(&request).await.unwrap_err();
        // The collector is asked, with another tool, which this host does not have.
        assert_eq!(problem.kind, Kind::Transport, "{problem}");
        assert!(!problem.message.contains(TOOL), "{problem}");
    }

    /// Tools that note their arguments, a credd that moved and a collector that knows where to.
    const STORE_CRED: &str = "#!/bin/sh
        echo $* >>FOLDER/runs
        case \"$*\" in
            *sock=new*) echo 'cms_crab.top = 1795336935'; exit ;;
            *) echo 'Failed to connect to <10.0.0.1:9618?sock=old>' >&2; exit 1 ;;
        esac
        ";
    const STATUS: &str = "#!/bin/sh
        echo asked >>FOLDER/runs
        echo '[{\"Name\": \"ap.test\", \"Machine\": \"ap.test\", \"MyAddress\": \"<10.0.0.1:9618?sock=new>\"}]'
        ";

    #[tokio::test]
    async fn a_credd_that_moved_is_sought_at_the_collector_and_found_there_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        for (tool, script) in [("condor_store_cred", STORE_CRED), ("condor_status", STATUS)] {
            let path = folder.path().join(tool);
            let script = script.replace("FOLDER", folder.path().to_str().unwrap());
            // Written by another process: one that is open for writing here could not be run while others are begun.
            let mut write = std::process::Command::new("install");
            let mut write = write.args(["-m", "700", "/dev/stdin"]).arg(&path);
            write = write.stdin(Stdio::piped());
            let mut child = write.spawn().unwrap();
            child
                .stdin
                .take()
                .unwrap()
                .write_all(script.as_bytes())
                .unwrap();
            assert!(child.wait().unwrap().success());
        }
        let schedd = ScheddAd {
            name: "ap.test".to_owned(),
            machine: "ap.test".to_owned(),
            credd: Some("<10.0.0.1:9618?sock=old>".to_owned()),
            matches: true,
            ..ScheddAd::default()
        };
        let mut found = FoundSchedds::default();
        found.take(vec![schedd], Timestamp::UNIX_EPOCH, Duration::from_hours(1));
        let mut transports = Transports::new(Outside::new().sessions(Store::default()));
        transports.condor = Condor(Tools::of(folder.path()));
        transports.learn(&search(Vec::new()), &found);
        let delivery = delivery_to(credd("ap.test"));
        for runs in [4, 5] {
            let observed = transports.observe(&delivery).await.unwrap();
            assert!(observed.stored.is_some());
            let all = std::fs::read_to_string(folder.path().join("runs")).unwrap();
            assert_eq!(all.lines().count(), runs, "{all}");
            assert!(all.lines().last().unwrap().contains("sock=new"), "{all}");
        }
    }

    const REFUSED: &str = "Operation failed because it is not allowed\n";

    #[test]
    fn another_user_than_the_account_is_a_fault_in_whatever_way_it_is_told() {
        let named = "MyRemoteUserName = \"crabtw@ap.test\"\n";
        let refused = format!("{named}{REFUSED}");
        for (stdout, stderr, user) in [
            (
                "fully_qualified_user = \"crabtw@ap.test\"",
                "",
                "user crabtw@ap.test",
            ),
            ("", refused.as_str(), "user crabtw@ap.test"),
            ("", REFUSED, "another user"),
        ] {
            let message = told(Method::Scitokens, None, stdout, stderr).unwrap();
            let takes = format!("takes the access token of cms_crab for {user}, not for cmsprod;");
            assert!(message.contains(&takes), "{message}");
            let message = told(Method::Ssl, None, stdout, stderr).unwrap();
            let takes = format!("takes this host for {user} by SSL, not for cmsprod;");
            assert!(message.contains(&takes), "{message}");
            let superuser = told(Method::Ssl, Some("ap.test"), stdout, stderr);
            assert_eq!(superuser, None);
        }
    }

    #[test]
    fn the_account_itself_is_none_and_what_says_nothing_shows_none() {
        let own = "fully_qualified_user = \"cmsprod@other.test\"";
        assert_eq!(told(Method::Scitokens, None, own, ""), None);
        let old = "Credential info:\ncms.top = 1795362556\n";
        assert_eq!(told(Method::Scitokens, None, old, ""), None);
        let failed = "Operation failed: unknown error\n";
        assert_eq!(told(Method::Scitokens, None, "", failed), None);
    }
}
