//! Checks of one account: keytab and ticket; login, refresh token and access token of each credential; credd and credmon
//! of each schedd.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use htcondor_cedar::Step;
use htvault::AccessTokenAnswer;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{ASKED_AT_A_TIME, STOPPED, Section, Verdict, span};
use crate::cli::onboard::trial::prove;
use crate::cli::table::foreign;
use crate::config::host;
use crate::engine::attempt::Parts;
use crate::model::delivery::{Credential, Delivery, Target, Way};
use crate::model::moment::{after, until};
use crate::model::problem::{Cause, Kind, Problem};
use crate::policy::verify;
use crate::schedd::{Observation, Transport};
use crate::vault::Vault;

/// Deadline for a credmon to serve a stored token; later is a fault.
const SERVED_WITHIN: Duration = Duration::from_mins(3);

/// Steps of an exchange with a credd, in their order; before the first its address is sought.
const STEPS: [(Step, &str); 7] = [
    (Step::Prepare, "address"),
    (Step::Connect, "connection"),
    (Step::Negotiate, "negotiation"),
    (Step::Tls, "TLS"),
    (Step::Token, "token"),
    (Step::Authorize, "authorization"),
    (Step::Command, "command"),
];

/// Steps of one account, until `stop` is cancelled.
pub(super) async fn section<V: Vault, T: Transport>(
    parts: &Parts<V, T>,
    deliveries: &[Arc<Delivery>],
    stop: &CancellationToken,
) -> Section {
    let Some(first) = deliveries.first() else {
        return Section::new("no account");
    };
    let identity = &first.credential.identity;
    let title = format!("Account {} ({})", identity.account, identity.principal);
    let mut section = Section::new(title);
    let keytab = identity.keytab.display().to_string();
    match host::keytab_fault(&identity.keytab, &identity.principal).await {
        None => section.add("keytab", Verdict::Ok, keytab),
        Some(fault) => {
            let verdict = if fault.stops {
                Verdict::Wrong
            } else {
                Verdict::Warning
            };
            section.add("keytab", verdict, format!("{keytab}: {}", fault.message));
        }
    }
    let mut done: Vec<(&Credential, Option<AccessTokenAnswer>)> = Vec::new();
    for delivery in deliveries {
        let credential = &*delivery.credential;
        if done.iter().all(|(known, _)| *known != credential) {
            let same = deliveries
                .iter()
                .filter(|other| *other.credential == *credential);
            let lifetime = same
                .map(|delivery| delivery.lifetime)
                .max()
                .unwrap_or_default();
            let answer = credential_steps(parts, credential, lifetime, stop, &mut section).await;
            done.push((credential, answer));
        }
    }
    let observe = |delivery: Arc<Delivery>| async move {
        let observed = stop.run_until_cancelled(parts.transport.observe(&delivery));
        (observed.await, delivery)
    };
    let observed = stream::iter(deliveries.to_vec()).map(observe);
    let mut observed = observed.buffered(ASKED_AT_A_TIME);
    while let Some((observed, delivery)) = observed.next().await {
        let answer = done
            .iter()
            .find(|(known, _)| **known == *delivery.credential)
            .and_then(|(_, answer)| answer.as_ref());
        let now = parts.clock.now();
        schedd_steps(&delivery, observed, answer, now, &mut section);
    }
    section
}

/// Steps of one credential, from the ticket to a checked access token; its vault tokens are to live `lifetime`.
async fn credential_steps<V: Vault, T: Transport>(
    parts: &Parts<V, T>,
    credential: &Credential,
    lifetime: Duration,
    stop: &CancellationToken,
    section: &mut Section,
) -> Option<AccessTokenAnswer> {
    let named = |what: &str| format!("{what} {}", credential.service);
    if stop.is_cancelled() {
        section.add(named("login"), Verdict::NotTried, STOPPED);
        return None;
    }
    // Never cut short: Vault may have made a login whose answer would be lost.
    let login = match parts.vault.login(credential).await {
        Err(problem) if matches!(problem.kind, Kind::KdcDown | Kind::Kerberos | Kind::Keytab) => {
            add_ticket(section, Verdict::Wrong, problem.message);
            let words = "there is no ticket to log in with";
            section.add(named("login"), Verdict::NotTried, words);
            return None;
        }
        login => {
            let words = "the KDC gives one for this key";
            add_ticket(section, Verdict::Ok, words.to_owned());
            section.take(named("login"), login)?
        }
    };
    let lease = Duration::from_secs(login.lease_seconds);
    let (verdict, words) = match verify::short_login(credential, lease, lifetime) {
        Some(short) => (Verdict::Warning, short),
        None => (
            Verdict::Ok,
            format!("by kerberos-{}_{}", credential.issuer, credential.role),
        ),
    };
    section.add(named("login"), verdict, words);
    let now = parts.clock.now();
    let Some(answer) = prove(&*parts.vault, credential, &login.token, now, stop).await else {
        section.add(named("access token"), Verdict::NotTried, STOPPED);
        return None;
    };
    let what = match &answer {
        Err(problem) | Ok((_, Some(problem))) if problem.kind == Kind::NotOnboarded => {
            "refresh token"
        }
        _ => "access token",
    };
    let (answer, less) = section.take(named(what), answer)?;
    if let Some(problem) = less {
        let words = format!(
            "{}, and no new one: {}",
            facts(&answer, now),
            problem.message
        );
        section.add(named(what), Verdict::Wrong, words);
        return Some(answer);
    }
    let (verdict, words) = match verify::access_token(credential, &answer, now) {
        Err(problem) => (Verdict::Wrong, problem.message),
        Ok(()) => match verify::odd_claims(&answer) {
            Some(odd) => (Verdict::Warning, format!("{}; {odd}", facts(&answer, now))),
            None => (Verdict::Ok, facts(&answer, now)),
        },
    };
    section.add(named(what), verdict, words);
    Some(answer)
}

/// Adds the step of the ticket, which all credentials of an account share.
fn add_ticket(section: &mut Section, verdict: Verdict, words: String) {
    if section.steps.iter().all(|step| step.what != "ticket") {
        section.add("ticket", verdict, words);
    }
}

/// Facts about an access token for people, without the token.
fn facts(answer: &AccessTokenAnswer, now: Timestamp) -> String {
    let left = answer.expires().map_or_else(
        || "unknown lifetime".to_owned(),
        |end| format!("{} left", span(now, end)),
    );
    match &answer.claims {
        Some(claims) => format!(
            "{left}, subject {}, {} scopes, audience {}",
            foreign(claims.subject.as_deref().unwrap_or("unknown")),
            claims.scopes.len(),
            if claims.audience.is_empty() {
                "none".to_owned()
            } else {
                foreign(&claims.audience.join(" "))
            }
        ),
        None => format!("{left}, no JWT"),
    }
}

/// Steps of one schedd: its credd answers, a token is stored, its credmon serves it.
/// `observed` is `None` when that was stopped.
fn schedd_steps(
    delivery: &Delivery,
    observed: Option<Result<Observation, Problem>>,
    answer: Option<&AccessTokenAnswer>,
    now: Timestamp,
    section: &mut Section,
) {
    let place = format!("{} at {}", delivery.id.service, delivery.id.schedd);
    let (what, right) = answering(&delivery.target);
    let (verdict, words) = match &observed {
        None => (Verdict::NotTried, STOPPED.to_owned()),
        Some(Ok(_)) => (Verdict::Ok, right),
        Some(Err(problem)) if matches!(problem.cause, Cause::Schedd(_) | Cause::Credd(_)) => {
            (Verdict::Wrong, failed(problem))
        }
        Some(Err(problem)) => {
            let words = format!("no access token opens the credd: {}", problem.message);
            (Verdict::NotTried, words)
        }
    };
    section.add(format!("{what} {place}"), verdict, words);
    if let Some(Ok(observed)) = observed {
        let (verdict, words) = judge(&observed, answer, now);
        section.add(format!("credmon {place}"), verdict, words);
    }
}

/// Name of the thing that answers, and what is right about it.
fn answering(target: &Target) -> (&'static str, String) {
    match target.way() {
        None => ("directory", "it answers".to_owned()),
        Some(Way::Cedar { .. }) => {
            let steps = STEPS.map(|(_, word)| word);
            ("credd", format!("it answers; passed: {}", steps.join(", ")))
        }
        Some(Way::Condor) => ("credd", "it answers".to_owned()),
    }
}

/// The step that failed, and the steps that were right before it, where they are known.
fn failed(problem: &Problem) -> String {
    let failed = |(step, _): &(Step, _)| problem.step == Some(*step);
    let Some(index) = STEPS.iter().position(failed) else {
        return problem.message.clone();
    };
    let mut words = STEPS.map(|(_, word)| word).into_iter();
    let before: Vec<&str> = words.by_ref().take(index).collect();
    let right = match before.as_slice() {
        [] => String::new(),
        before => format!(" (passed: {})", before.join(", ")),
    };
    let step = words.next().unwrap_or_default();
    format!("{step} failed{right}: {}", problem.message)
}

/// Judges a credmon by the observed times at its schedd.
fn judge(
    observed: &Observation,
    answer: Option<&AccessTokenAnswer>,
    now: Timestamp,
) -> (Verdict, String) {
    let Some(stored) = observed.stored else {
        let words = "nothing is stored yet; the running service stores it, or `token-bastion push`";
        return (Verdict::Warning, words.to_owned());
    };
    let ago = |then| format!("{} ago", span(then, now));
    let fault = "check that the credmon runs at the schedd, and its log";
    if !observed.is_served(None) {
        let (verdict, advice) = if until(stored, now) > SERVED_WITHIN {
            (Verdict::Wrong, fault)
        } else {
            (Verdict::Warning, "check again in a minute")
        };
        let stored = ago(stored);
        let words = format!("stored {stored}, and no access token made since; {advice}");
        return (verdict, words);
    }
    let served = observed.served.unwrap_or(stored);
    let words = format!("stored {}, last access token {}", ago(stored), ago(served));
    let life = answer.and_then(|answer| {
        let issued = answer.claims.as_ref()?.issued?;
        Some(until(issued, answer.expires()?))
    });
    match life {
        Some(life) if after(served, life) < now => (
            Verdict::Wrong,
            format!("{words}, so jobs there have an expired one; {fault}"),
        ),
        _ => (Verdict::Ok, words),
    }
}
