//! `check`: the configuration and this host's files, judged without any network.

use super::{Done, Failure, complain, print, print_json};
use crate::cli::Output;
use crate::config::{Config, host};
use crate::report;

/// Lists what would be delivered, and what is wrong.
pub(crate) fn check(config: &Config, output: Output) -> Result<Done, Failure> {
    let wanted = report::wanted(&config.deliveries);
    let mut faults: Vec<String> = host::keytab_faults(config)
        .iter()
        .map(ToString::to_string)
        .collect();
    faults.extend(host::authority_fault(config).map(|fault| fault.to_string()));
    if output.json {
        print_json(&serde_json::json!({"deliveries": wanted, "faults": faults}));
    } else {
        print(&report::wanted_table(&wanted));
        complain(&faults);
    }
    if faults.is_empty() {
        Ok(Done::Good)
    } else {
        // They were told, or are in the JSON.
        Err(Failure::wrong(std::iter::empty::<String>()))
    }
}
