//! HTCondor's configuration, as `condor_config_val` prints it, or the environment alone where
//! HTCondor is not installed.
//!
//! One call lists every name that may matter, with macros expanded and with what is meant for this
//! daemon alone (`CREDMON_OAUTH.LOG`) in force. `_CONDOR_NAME` in the environment overrides
//! everything; HTCondor's tool does that itself.

use std::collections::BTreeMap;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use htvault::text::printable;
use tokio::process::Command;

use crate::model::TEXT_LIMIT;

/// The tool, found in PATH.
const TOOL: &str = "condor_config_val";

/// Deadline for the tool. It takes 20 ms, unless a name server hangs.
const TIME_LIMIT: Duration = Duration::from_secs(20);

/// Names that matter besides those that begin with the daemon's name.
const NAMES: &str = "SEC_CREDENTIAL_DIRECTORY(_OAUTH)?|CREDMON_(OAUTH|HTVAULT)_.*|LOG|RUN\
    |CONDOR_VERSION|AUTH_SSL_CLIENT_CA(FILE|DIR)|TRUSTED_VAULT_HOSTS|CREDMON_ALLOW_SPECIAL_CHAR_NAMES\
    |(VAULT|LOCAL|OAUTH2|CLIENT|PELICAN)_CREDMON_PROVIDER_NAMES?|.*_CLIENT_ID";

/// Values by name. Names are the same in any letter case; an empty value is no value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Values(BTreeMap<String, String>);

impl Values {
    /// The value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(&name.to_ascii_uppercase()).map(String::as_str)
    }

    /// All names that have a value, in capitals.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Sets a value.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        let value = value.trim();
        if value.is_empty() {
            self.0.remove(&name.to_ascii_uppercase());
        } else {
            self.0.insert(name.to_ascii_uppercase(), value.to_owned());
        }
    }

    /// Values of the environment: `_CONDOR_NAME`, the prefix in any letter case.
    pub(crate) fn from_environment(variables: impl Iterator<Item = (String, String)>) -> Self {
        const PREFIX: &str = "_CONDOR_";
        let mut values = Self::default();
        for (variable, value) in variables {
            if let Some((prefix, name)) = variable.split_at_checked(PREFIX.len())
                && prefix.eq_ignore_ascii_case(PREFIX)
            {
                values.set(name, &value);
            }
        }
        values
    }

    /// Output of the tool: `NAME = value`, comments with `#`, and values of several lines
    /// between `NAME @=tag` and `@tag`.
    pub(crate) fn from_dump(text: &str) -> Self {
        let mut values = Self::default();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line.starts_with('#') {
                continue;
            }
            if let Some((name, value)) = line.split_once(" =") {
                values.set(name.trim(), value);
            } else if let Some((name, tag)) = line.split_once(" @=") {
                let end = format!("@{}", tag.trim());
                let value: Vec<&str> = lines.by_ref().take_while(|l| l.trim() != end).collect();
                values.set(name.trim(), &value.join("\n"));
            }
        }
        values
    }
}

/// Origin of the values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// HTCondor's configuration.
    Condor,
    /// The environment alone: HTCondor is not installed.
    Environment,
    /// The environment alone: HTCondor's tool failed, for this reason. What the site configured is
    /// not known.
    Failed(String),
}

/// Reads the configuration for a daemon.
pub(crate) async fn read(daemon: &str) -> (Values, Source) {
    let environment = || {
        Values::from_environment(std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }))
    };
    let prefix = format!("({daemon}\\.)?");
    let pattern = format!("^{prefix}({NAMES}|{daemon}_.*)$");
    let run = Command::new(TOOL)
        .args(["-subsystem", daemon, "-expand", "-dump", &pattern])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match tokio::time::timeout(TIME_LIMIT, run).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            return (environment(), Source::Environment);
        }
        Ok(Err(error)) => return (environment(), Source::Failed(error.to_string())),
        Err(_) => {
            let why = format!("no answer in {} s", TIME_LIMIT.as_secs());
            return (environment(), Source::Failed(why));
        }
    };
    let printable = |text: &[u8]| printable(String::from_utf8_lossy(text).trim(), TEXT_LIMIT);
    if !output.status.success() {
        let why = format!("{}: {}", output.status, printable(&output.stderr));
        return (environment(), Source::Failed(why));
    }
    let values = Values::from_dump(&String::from_utf8_lossy(&output.stdout));
    // Every HTCondor has values for these, at least built-in ones.
    if values.get("LOG").or(values.get("CONDOR_VERSION")).is_none() {
        let why = format!(
            "it printed no configuration: {:.100}",
            printable(&output.stdout)
        );
        return (environment(), Source::Failed(why));
    }
    (values, Source::Condor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tool_prints_is_read() {
        let values = Values::from_dump(
            "# Configuration from machine: ap.test\n\
             \n\
             # Parameters with names that match ^LOG$:\n\
             LOG = /var/log/condor\n\
             TRUSTED_VAULT_HOSTS = \n\
             MANY @=end\none = 1\ntwo\n@end\n\
             cms_Client_Id = a = b\n\
             # Contributing configuration file(s):\n\
             #\t/etc/condor/condor_config\n",
        );
        assert_eq!(values.get("log"), Some("/var/log/condor"));
        assert_eq!(values.get("TRUSTED_VAULT_HOSTS"), None);
        assert_eq!(values.get("MANY"), Some("one = 1\ntwo"));
        assert_eq!(values.get("CMS_CLIENT_ID"), Some("a = b"));
        assert_eq!(values.names().count(), 3);
    }

    #[test]
    fn the_environment_is_read_in_any_letter_case() {
        let variables = [
            ("_CONDOR_LOG", "/a"),
            ("_condor_CREDMON_OAUTH_TOKEN_MINIMUM", "40"),
            ("_cOnDoR_Empty", ""),
            ("CONDOR_LOG", "/b"),
            ("_CONDÖR_X", "y"),
        ];
        let values = Values::from_environment(
            variables
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        assert_eq!(values.get("LOG"), Some("/a"));
        assert_eq!(values.get("CREDMON_OAUTH_TOKEN_MINIMUM"), Some("40"));
        assert_eq!(values.names().count(), 2);
    }
}
