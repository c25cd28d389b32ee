//! A credd, reached with the site's own `condor_store_cred`, which an access token authorises.
//!
//! What holds: no token is in an argument or a file; the access token is in the tool's environment
//! (`BEARER_TOKEN`), what is stored goes through its standard input. The tool sees nothing else of
//! our environment, has a time limit, and is killed when that is over or the service ends. Each call
//! names the account that is meant: a credd of any version refuses that to another one.

mod advice;
mod answer;
mod collector;
mod listed;
mod refusals;
mod tool;
mod whereabouts;

use std::path::PathBuf;
use std::time::Duration;

use htvault::{AccessToken, Claims};
use secrecy::{ExposeSecret as _, SecretString};

use super::Observed;
use super::discovery::{Ad, Known};
use super::opener::Openers;
use crate::config::Search;
use crate::delivery::{Delivery, Method, Target};
use crate::problem::{Cause, Kind, Problem};
use crate::vault::Vault;
use refusals::BEARER;
use tool::{Call, Said, Tools};
use whereabouts::{Place, Whereabouts};

const TOOL: &str = "condor_store_cred";
/// The credd itself waits 20 s for its credmon.
const LIMIT: Duration = Duration::from_mins(1);

/// Path of the tool on this host.
///
/// # Errors
/// It is missing; the words say what to do.
pub(crate) fn tool_path() -> Result<PathBuf, String> {
    tool::path_of(TOOL).ok_or_else(|| tool::not_found(TOOL))
}

/// The domain of an account, where none is configured: a credd compares what comes before it alone.
const ANY_DOMAIN: &str = "any";

/// Where a credd is, and in whose name it is spoken to.
#[derive(Clone, Copy, Debug)]
struct Credd<'a> {
    host: &'a str,
    address: Option<&'a str>,
    /// It can be found by its host's name as well.
    has_name: bool,
    domain: Option<&'a str>,
}

impl<'a> Credd<'a> {
    /// The credd of a delivery, at its address where that is known.
    fn new(delivery: &'a Delivery, place: Option<&'a Place>) -> Self {
        let (host, domain) = match &delivery.target {
            Target::Credd { host, opening, .. } => (host.as_str(), opening.domain.as_deref()),
            Target::Directory(_) => ("", None),
        };
        Self {
            host,
            address: place
                .and_then(|place| place.credd.as_deref())
                // A name in angle brackets is an address.
                .or(Some(host).filter(|host| host.starts_with('<'))),
            // Others at that host may have credds of their own.
            has_name: place.is_some_and(|place| place.schedd == host),
            domain,
        }
    }

    /// The same, to be found by its name, where that is another way.
    fn by_name(self) -> Option<Self> {
        (self.has_name && self.address.is_some()).then_some(Self {
            address: None,
            ..self
        })
    }
}

/// Work of the tool for one delivery.
enum Operation<'a> {
    Query,
    Add(&'a SecretString),
    Delete,
}

impl Operation<'_> {
    fn arguments<'a>(&self, service: &'a str) -> Vec<&'a str> {
        match self {
            // Without -s: the answer for one service compares scopes and audience first.
            Self::Query => vec!["query-oauth"],
            Self::Add(_) => vec!["add-oauth", "-s", service, "-i", "-"],
            Self::Delete => vec!["delete-oauth", "-s", service],
        }
    }

    fn input(&self) -> &str {
        match self {
            Self::Add(top) => top.expose_secret(),
            Self::Query | Self::Delete => "",
        }
    }

    fn is_done(&self, said: &Said) -> bool {
        said.success || (said.is_nothing_there() && !matches!(self, Self::Add(_)))
    }
}

/// HTCondor's tools, addresses of credds, and access tokens that open them.
pub(super) struct Condor<V> {
    tools: Tools,
    whereabouts: Whereabouts,
    openers: Openers<V>,
}

impl<V: Vault> Condor<V> {
    pub(super) fn new(openers: Openers<V>) -> Self {
        Self {
            tools: Tools::default(),
            whereabouts: Whereabouts::default(),
            openers,
        }
    }

    pub(super) async fn find(&self, search: &Search, known: &Known) -> Result<Vec<Ad>, Problem> {
        collector::find(&self.tools, search, known).await
    }

    /// Takes over the addresses that a search found.
    pub(super) fn learn(&self, search: &Search, known: &Known) {
        self.whereabouts.note(search.collector.as_deref(), known);
    }

    pub(super) async fn observe(&self, delivery: &Delivery) -> Result<Observed, Problem> {
        let said = self.run(delivery, Operation::Query).await?;
        same_account(delivery, &said)?;
        Ok(said.observed(&delivery.id.service))
    }

    /// Stored for the account that is named, whomever the credd took us for.
    pub(super) async fn store(
        &self,
        delivery: &Delivery,
        top: &SecretString,
    ) -> Result<(), Problem> {
        self.run(delivery, Operation::Add(top)).await.map(drop)
    }

    pub(super) async fn delete(&self, delivery: &Delivery) -> Result<(), Problem> {
        // Whose credential that would be is asked first: what was deleted cannot be put back.
        let there = self.observe(delivery).await?;
        if there.stored.is_none() && there.served.is_none() {
            return Ok(());
        }
        self.run(delivery, Operation::Delete).await.map(drop)
    }

    /// Runs the tool. A credd that does not answer is asked for by its name next time; an access token that
    /// is refused is not used again.
    async fn run(&self, delivery: &Delivery, operation: Operation<'_>) -> Result<Said, Problem> {
        let Target::Credd {
            host,
            collector,
            opening,
        } = &delivery.target
        else {
            return Err(Problem::internal(
                delivery,
                "a directory is taken for a credd",
            ));
        };
        if opening.method == Method::Kerberos && !nix::unistd::geteuid().is_root() {
            return Err(Problem::new(
                Cause::schedd(delivery),
                Kind::Transport,
                "`authenticate: kerberos` works for root alone, whose tools log in by keytab in memory; run the service \
                 as root, or take another method",
            ));
        }
        let collector = collector.as_deref();
        let ask = collector::credds(&self.tools, collector);
        let place = self.whereabouts.of(collector, host, ask).await;
        let credd = Credd::new(delivery, place.as_ref());
        let opener = self.openers.of(delivery).await?;
        let result = self
            .run_until_clear(delivery, &credd, &operation, opener.as_ref())
            .await;
        match &result {
            Err(problem) if problem.kind == Kind::CreddDown => {
                self.whereabouts.doubt(collector, host).await;
            }
            Err(problem) if problem.kind == Kind::CreddRefused && opener.is_some() => {
                self.openers.forget(&delivery.authorize).await;
            }
            // The address was wrong, the name is right.
            Ok((_, true)) => self.whereabouts.doubt(collector, host).await,
            _ => {}
        }
        result.map(|(said, _)| said)
    }

    /// Runs the tool, and after a failure once more for its reasons. `true` comes with what only succeeded by
    /// the credd's name, not at its address.
    async fn run_until_clear(
        &self,
        delivery: &Delivery,
        credd: &Credd<'_>,
        operation: &Operation<'_>,
        opener: Option<&AccessToken>,
    ) -> Result<(Said, bool), Problem> {
        let arguments = operation.arguments(&delivery.id.service);
        let input = operation.input();
        let said = self
            .run_once(delivery, credd, &arguments, input, opener, None)
            .await?;
        if operation.is_done(&said) {
            return Ok((said, false));
        }
        // Reasons are printed only with -d, which costs half as much again. What failed once may be
        // asked a second time: each call brings about a state, however often it is made. By name it
        // finds a credd that was started anew, which has another address.
        let arguments = [&["-d"], arguments.as_slice()].concat();
        // For whom the credd takes us is printed only so, and is what a refusal leaves open.
        let debug = said.is_not_allowed().then_some("D_SECURITY:2");
        let by_name = credd.by_name();
        let credd = by_name.as_ref().unwrap_or(credd);
        let said = self
            .run_once(delivery, credd, &arguments, input, opener, debug)
            .await?;
        if operation.is_done(&said) {
            return Ok((said, by_name.is_some()));
        }
        same_account(delivery, &said)?;
        Err(failure(delivery, &said, opener))
    }

    async fn run_once(
        &self,
        delivery: &Delivery,
        credd: &Credd<'_>,
        arguments: &[&str],
        input: &str,
        opener: Option<&AccessToken>,
        debug: Option<&str>,
    ) -> Result<Said, Problem> {
        let mut environment = tool::environment(delivery, opener);
        environment.extend(debug.map(|debug| ("_CONDOR_TOOL_DEBUG", debug.into())));
        let domain = credd.domain.unwrap_or(ANY_DOMAIN);
        let account = format!("{}@{domain}", delivery.id.account);
        let mut arguments = arguments.to_vec();
        arguments.extend(["-u", &account]);
        match credd.address {
            // An address of a credd is taken as the name of a schedd, and of nothing else.
            Some(address) => arguments.extend(["-n", address]),
            None => environment.push(("_CONDOR_CREDD_HOST", credd.host.into())),
        }
        let call = Call {
            tool: TOOL,
            arguments,
            input,
            environment,
            limit: LIMIT,
        };
        self.tools.run(call).await.map_err(|silence| {
            let (kind, message) = silence.explain("the credd");
            Problem::new(cause(delivery, kind), kind, message)
        })
    }
}

/// A credd that does not answer does so for everybody.
fn cause(delivery: &Delivery, kind: Kind) -> Cause {
    match kind {
        Kind::CreddDown => Cause::credd(delivery),
        _ => Cause::schedd(delivery),
    }
}

fn failure(delivery: &Delivery, said: &Said, opener: Option<&AccessToken>) -> Problem {
    let (kind, mut message) = advice::failure(said, delivery);
    let claims = opener.and_then(|opener| Claims::read(opener.expose()));
    if let Some((issuer, subject)) = claims.and_then(|claims| claims.issuer.zip(claims.subject)) {
        message = message.replace(BEARER, &format!("{issuer},{subject}"));
    }
    Problem::new(cause(delivery, kind), kind, format!("{TOOL}: {message}"))
}

/// Whether the credd took us for the account. A super-user is told its own name, and says itself
/// whom it stores for.
fn same_account(delivery: &Delivery, said: &Said) -> Result<(), Problem> {
    let Target::Credd { opening, .. } = &delivery.target else {
        return Ok(());
    };
    let meant = |user: &str| user.split('@').next().unwrap_or(user) == delivery.id.account;
    let user = match said.user() {
        _ if opening.domain.is_some() => return Ok(()),
        Some(user) if meant(user) => return Ok(()),
        Some(user) => format!("user {user}"),
        None if said.is_not_allowed() => "another user".to_owned(),
        None => return Ok(()),
    };
    let what = match opening.method {
        Method::Scitokens => format!(
            "the credd takes the access token of {} for {user}, not for {}; correct the SCITOKENS line of the \
             schedd's map file, or the account's name here",
            delivery.authorize.service, delivery.id.account
        ),
        method => format!(
            "the credd takes this host for {user} by {}, not for {}; set `superuser_for` here and CRED_SUPER_USERS at \
             the schedd, or correct its map file",
            tool::words(method),
            delivery.id.account
        ),
    };
    Err(Problem::new(
        Cause::schedd(delivery),
        Kind::CreddRefused,
        what,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{credd_by, delivery_to};

    /// What is told of an answer, of an account `cmsprod`.
    fn told(method: Method, domain: Option<&str>, stdout: &str, stderr: &str) -> Option<String> {
        let delivery = delivery_to(credd_by("ap.test", method, domain));
        assert_eq!(delivery.id.account, "cmsprod");
        let said = Said {
            success: stderr.is_empty(),
            stdout: stdout.to_owned(),
            stderr: stderr.to_owned(),
        };
        Some(same_account(&delivery, &said).err()?.message)
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
