//! `check`: faults of the configuration and of this host's files, without any network.
//!
//! Always true: warnings are printed and change nothing; faults give exit code 2.

use super::overview::Overview;
use super::{CommandError, Done, complain, print, print_json};
use crate::cli::arguments::Output;
use crate::cli::local;
use crate::config::{Config, host};
use crate::schedd::directory;

/// Prints all configured deliveries and all faults.
pub(crate) fn check(config: &Config, output: Output) -> Result<Done, CommandError> {
    let overview = Overview::new(config);
    let mut faults: Vec<String> = local::wait(host::keytab_faults(config))?
        .iter()
        .map(ToString::to_string)
        .collect();
    faults.extend(local::wait(directory::faults(config))?);
    faults.extend(host::authority_fault(config).map(|fault| fault.to_string()));
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    let printed = if output.json {
        print_json(&serde_json::json!({
            "deliveries": overview.deliveries,
            "searches": overview.searches,
            "faults": faults,
            "warnings": warnings,
        }))
    } else {
        let printed = print(&overview.table());
        complain(warnings.iter().map(|warning| format!("warning: {warning}")));
        complain(&faults);
        printed
    };
    printed?;
    if faults.is_empty() {
        Ok(Done::Good)
    } else {
        // They are printed already, or in the JSON.
        Err(CommandError::wrong(std::iter::empty::<String>()))
    }
}
