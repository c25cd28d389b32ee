//! Failures of the protocol: the kind of problem, the step, and the advice for each. Pure.
//!
//! Always true: the same cause is the same kind of problem, with the same advice, as in what HTCondor's tools print.

use htcondor_cedar::{Error, ErrorKind, Refusal, Step};
use htvault::AccessToken;

use super::CreddRequest;
use crate::model::problem::{Kind, Problem};
use crate::schedd::{advice, credd};

/// The problem that a failure is for a delivery; the credd was shown `opener`.
pub(super) fn explain(error: &Error, request: &CreddRequest<'_>, opener: &AccessToken) -> Problem {
    let delivery = request.delivery;
    if error.kind() == ErrorKind::Credd(Refusal::NotAllowed)
        && let Err(problem) = request.check_user(error.user())
    {
        return problem.at(error.step());
    }
    let (kind, advice) = judge(error.kind(), error.step());
    let advice = advice.unwrap_or_else(|| error.advice());
    let vault = delivery.credential.url.server();
    let bearer = credd::bearer(Some(opener));
    let values = [
        ("{account}", delivery.id.account.as_str()),
        ("{method}", "SCITOKENS"),
        ("{vault}", vault.host()),
        ("{bearer}", bearer.as_deref().unwrap_or("ISSUER,SUBJECT")),
    ];
    let advice = advice::fill(advice, &values);
    let message = format!("{}; {advice}", error.message());
    let problem = request.problem(kind, message);
    match error.kind() {
        // It has one step, wherever in an exchange it was found.
        ErrorKind::BadValue => problem,
        _ => problem.at(error.step()),
    }
}

/// Kind of a failure at a step, and advice where the protocol's own would not do.
fn judge(kind: ErrorKind, step: Step) -> (Kind, Option<&'static str>) {
    use ErrorKind as E;
    let (kind, advice) = match kind {
        E::BadValue => (
            Kind::Transport,
            "correct the schedd's name, or set `transport: condor` for its group",
        ),
        E::BrokerOnly => (
            Kind::CreddRefused,
            "the credd is reached through a connection broker (CCB) only: give it an address that this host reaches, or \
             set `transport: condor` for its group",
        ),
        E::Local => (Kind::Local, advice::LOCAL),
        E::Unreachable | E::TimedOut => (Kind::CreddDown, advice::NO_CONNECTION),
        // Whoever answers so has let us in: it is the credd, and what it says is about this account.
        E::BadAnswer if step == Step::Command => (Kind::CreddRefused, advice::UNREADABLE),
        E::UnknownCommand | E::UnknownSession | E::BadAnswer => (Kind::CreddDown, advice::NO_CREDD),
        // HTCondor gives no reason for most refusals.
        E::HungUp if step == Step::Negotiate => (
            Kind::CreddDown,
            "the credd restarts, or it offers no SCITOKENS or no AES (SEC_DEFAULT_AUTHENTICATION_METHODS, \
             SEC_DEFAULT_CRYPTO_METHODS), or lets this host not write (ALLOW_WRITE): its CredLog says which; it is tried \
             again",
        ),
        E::HungUp => (
            Kind::CreddDown,
            "the credd was stopped or started anew; it is tried again",
        ),
        E::Untrusted => (
            Kind::CreddUntrusted,
            "the credd's host certificate is not trusted here: name its authority by `ca_file` or `ca_dir` of the group",
        ),
        E::OutOfValidity => (Kind::CreddCertificate, advice::CERTIFICATE_TIMES),
        E::WrongName => (Kind::CreddCertificate, advice::CERTIFICATE_NAME),
        E::NoTls => (Kind::CreddCertificate, advice::NO_TLS),
        E::NoCommonMethod => (Kind::CreddRefused, advice::NOT_OFFERED),
        E::TokenRefused => (Kind::CreddRefused, advice::TOKEN_REFUSED),
        E::Denied => (Kind::CreddRefused, advice::DENIED),
        E::Credd(Refusal::NotAllowed) => (Kind::CreddRefused, advice::NO_SUPERUSER),
        E::Credd(Refusal::UntrustedVault) => (Kind::CreddRefused, advice::UNTRUSTED_VAULT),
        E::Credd(Refusal::Configuration) => (Kind::CreddRefused, advice::CONFIGURATION),
        _ => return (Kind::CreddRefused, None),
    };
    (kind, Some(advice))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use crate::model::problem::Cause;
    use crate::schedd::credd::Operation;

    #[test]
    fn what_this_host_cannot_do_is_charged_to_no_credd() {
        let delivery = fixtures::delivery_to(fixtures::credd("ap.test"));
        let request = CreddRequest::of(&delivery, Operation::Query);
        for step in [Step::Connect, Step::Negotiate, Step::Command] {
            let (kind, advice) = judge(ErrorKind::Local, step);
            assert_eq!(advice, Some(advice::LOCAL), "{step}");
            assert_eq!(kind, Kind::Local, "{step}");
            let problem = request.problem(kind, "");
            assert!(matches!(problem.cause, Cause::Schedd(_)), "{problem:?}");
        }
    }

    #[test]
    fn a_value_that_cannot_be_sent_names_no_step_for_it_may_be_found_at_any() {
        let delivery = fixtures::delivery_to(fixtures::credd("ap.test"));
        let request = CreddRequest::of(&delivery, Operation::Query);
        let error = "<".parse::<htcondor_cedar::Address>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadValue);
        let problem = explain(&error, &request, &AccessToken::from("ey".to_owned()));
        assert_eq!((problem.kind, problem.step), (Kind::Transport, None));
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_charged_to_who_was_let_in_and_before_that_to_the_credd() {
        let (kind, advice) = judge(ErrorKind::BadAnswer, Step::Command);
        assert_eq!(kind, Kind::CreddRefused);
        let advice = advice.unwrap();
        assert!(advice.contains("{account}"), "{advice}");
        assert!(advice.contains("10,000"), "{advice}");
        for step in [Step::Connect, Step::Negotiate, Step::Token, Step::Authorize] {
            let judged = judge(ErrorKind::BadAnswer, step);
            assert_eq!(judged, (Kind::CreddDown, Some(advice::NO_CREDD)), "{step}");
        }
    }

    #[test]
    fn a_daemon_that_can_do_no_tls_has_a_fault_in_its_certificate_for_everybody() {
        for step in [Step::Negotiate, Step::Tls] {
            let (kind, advice) = judge(ErrorKind::NoTls, step);
            assert_eq!(kind, Kind::CreddCertificate, "{step}");
            let advice = advice.unwrap();
            for what in ["CERTFILE", "KEYFILE", "CAFILE"] {
                assert!(
                    advice.contains(&format!("AUTH_SSL_SERVER_{what}")),
                    "{advice}"
                );
            }
            assert!(advice.contains("CredLog"), "{advice}");
        }
    }
}
