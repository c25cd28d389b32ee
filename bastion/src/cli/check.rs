//! `check`: faults of the configuration and of this host's files, without any network.
//!
//! Always true: warnings are printed and change nothing; faults give exit code 2, and are in the JSON, those
//! that keep the configuration from being used, too.

use super::output::Output;
use super::overview::Overview;
use super::{CommandError, Done, complain};
use crate::config::{Config, host};
use crate::schedd::directory;

/// Prints all configured deliveries and all faults.
pub(crate) async fn check(
    config: Result<Config, CommandError>,
    output: Output,
) -> Result<Done, CommandError> {
    let overview = match config {
        Ok(config) => {
            let keytabs = host::keytab_faults(&config).await.into_iter();
            let mut faults: Vec<String> = keytabs.map(|fault| fault.to_string()).collect();
            faults.extend(directory::faults(&config).await);
            faults.extend(host::authority_fault(&config));
            Overview::new(&config, faults)
        }
        Err(unusable) if output.json => Overview {
            faults: unusable.lines,
            ..Overview::default()
        },
        Err(unusable) => return Err(unusable),
    };
    let printed = output.print(&overview, |width| overview.text(width));
    if !output.json {
        let warnings = overview.warnings.iter();
        complain(warnings.map(|warning| format!("warning: {warning}")));
        complain(&overview.faults);
    }
    printed?;
    if overview.faults.is_empty() {
        Ok(Done::Good)
    } else {
        // They are printed already, or in the JSON.
        Err(CommandError::wrong(std::iter::empty::<String>()))
    }
}
