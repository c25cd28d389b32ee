//! Reads the output of HTCondor's `condor_store_cred`: times, and the user for whom the credd takes us. Pure.
//!
//! The texts are those of HTCondor 25.14.1 and 23.9.6.

use jiff::Timestamp;

use super::refusals::NOT_ALLOWED;
use super::tool::ToolOutput;
use crate::schedd::Observation;

impl ToolOutput {
    /// State of one service at the credd, from a query that succeeded or found nothing.
    pub(super) fn observed(&self, service: &str) -> Observation {
        Observation {
            stored: self.time(&format!("{service}.top")),
            served: self.time(&format!("{service}.use")),
            serves_until: None,
            content: None,
        }
    }

    pub(super) fn is_nothing_there(&self) -> bool {
        self.stdout.contains("No credential is stored")
    }

    fn time(&self, key: &str) -> Option<Timestamp> {
        Timestamp::from_second(value(&self.stdout, key)?.parse().ok()?).ok()
    }

    /// The credd takes us for somebody who may not do this for the account.
    pub(super) fn is_not_allowed(&self) -> bool {
        self.lines().any(|line| line.contains(NOT_ALLOWED))
    }

    /// User for whom the credd took us: `account@domain`. It answers that when it succeeds, from 23.10 on;
    /// each version says it before that, when we log in, which is printed with `D_SECURITY:2`.
    pub(super) fn user(&self) -> Option<&str> {
        let answered = value(&self.stdout, "fully_qualified_user");
        answered.or_else(|| value(&self.stderr, "MyRemoteUserName"))
    }
}

/// Value of the last line `KEY = VALUE`: a collector that was asked for the credd comes before the credd.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(" = "))
        .rfind(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(success: bool, stdout: &str, stderr: &str) -> ToolOutput {
        ToolOutput {
            success,
            stdout: stdout.to_owned(),
            stderr: stderr.to_owned(),
        }
    }

    const ALL: &str = "Account: <current> (root)\nCredType: oauth\n\n\
        A credential was stored and is waiting for processing.\n\nCredential info:\n\
        cms.top = 1795336935\ncms.use = 1795336936\ncms_crab.top = 1795336993\n\
        fully_qualified_user = \"cmsprod@ap.test\"\n";

    #[test]
    fn times_of_the_service_are_read() {
        let output = output(true, ALL, "");
        let seen = output.observed("cms");
        assert_eq!(seen.stored.unwrap().as_second(), 1_795_336_935);
        assert_eq!(seen.served.unwrap().as_second(), 1_795_336_936);
        let seen = output.observed("cms_crab");
        assert!(seen.stored.is_some() && seen.served.is_none());
        assert!(output.observed("cm").stored.is_none());
        assert_eq!(output.user(), Some("cmsprod@ap.test"));
    }

    /// As HTCondor 23.9.6 printed it.
    #[test]
    fn who_is_refused_is_told_by_the_credd_and_not_by_the_collector() {
        let stderr = "11/22/26 15:49:22 SECMAN: policy to be cached:\n\
            MyRemoteUserName = \"collectors@pool.test\"\n\
            11/22/26 15:49:22 SECMAN: policy to be cached:\n\
            AuthMethods = \"SCITOKENS\"\n\
            MyRemoteUserName = \"crabtw@ap.test\"\n\
            User = \"scitokens@unmapped\"\n\
            Operation failed because it is not allowed\n";
        let output = output(false, "Account: cmsprod@any\nCredType: oauth\n\n", stderr);
        assert!(output.is_not_allowed() && !output.is_nothing_there());
        assert_eq!(output.user(), Some("crabtw@ap.test"));
    }

    #[test]
    fn nothing_stored_is_an_answer_and_a_failure_is_none() {
        let none = output(
            false,
            "Account: x\nCredType: oauth\n\nNo credential is stored.\n",
            "",
        );
        assert!(none.is_nothing_there() && none.observed("cms").stored.is_none());
        assert!(!none.is_not_allowed() && none.user().is_none());
        assert!(!output(false, "Operation failed.\n", "").is_nothing_there());
    }
}
