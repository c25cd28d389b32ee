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
use tool::{ToolCall, ToolOutput, Tools};

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
        let method = request.credd.authentication.method;
        if method == Method::Kerberos && !nix::unistd::geteuid().is_root() {
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
            is_of_token: refusals::are_of_token(&output, request.credd.authentication.method),
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
        let CreddRequest {
            delivery, credd, ..
        } = *request;
        let mut environment = request.environment(opener);
        let domain = credd.authentication.domain.as_deref();
        let domain = domain.unwrap_or(ANY_DOMAIN);
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
            None => environment.push(("_CONDOR_CREDD_HOST", credd.host.as_str().into())),
        }
        let call = ToolCall {
            tool: TOOL,
            arguments,
            input,
            environment,
            deadline: DEADLINE,
            server: ("the credd", Kind::CreddDown),
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
        let method = method_name(self.credd.authentication.method);
        let mut all = vec![("_CONDOR_SEC_CLIENT_AUTHENTICATION_METHODS", method.into())];
        let collector = self.credd.collector.as_ref();
        all.extend(collector.map(|name| (COLLECTOR_HOST, name.into())));
        all.extend(opener.map(|opener| ("BEARER_TOKEN", opener.expose().into())));
        if self.credd.authentication.method == Method::Kerberos {
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
        let method = self.credd.authentication.method;
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
mod tests;
