//! `check`: the configuration and this host's files, judged without any network.
//!
//! What holds: warnings are told and stop nothing; faults end it with exit code 2.

use std::process::ExitCode;

use crate::cli::{Output, WRONG, complain, print, print_json};
use crate::config::{Config, Overview, host};

/// Lists what would be delivered, and what is wrong.
pub(crate) fn check(config: &Config, output: Output) -> ExitCode {
    let overview = Overview::new(config);
    let mut faults: Vec<String> = host::keytab_faults(config)
        .iter()
        .map(ToString::to_string)
        .collect();
    faults.extend(host::authority_fault(config).map(|fault| fault.to_string()));
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    if output.json {
        print_json(&serde_json::json!({
            "deliveries": overview.deliveries,
            "searches": overview.searches,
            "faults": faults,
            "warnings": warnings,
        }));
    } else {
        print(&overview.table());
        complain(warnings.iter().map(|warning| format!("warning: {warning}")));
        complain(&faults);
    }
    if faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        WRONG.into()
    }
}
