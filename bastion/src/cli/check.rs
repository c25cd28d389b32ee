//! `check`: faults of the configuration and of this host's files, without any network.
//!
//! Always true: warnings are printed and change nothing; faults give exit code 2, and are in the JSON, those
//! that keep the configuration from being used, too.

use console::Term;

use super::overview::Overview;
use super::wrap::width;
use super::{CommandError, Done, complain, print, print_json};
use crate::cli::arguments::Output;
use crate::cli::local;
use crate::config::{Config, host};
use crate::schedd::directory;

/// Prints all configured deliveries and all faults.
pub(crate) fn check(
    config: Result<Config, CommandError>,
    output: Output,
) -> Result<Done, CommandError> {
    let config = &match config {
        Ok(config) => config,
        Err(faults) if output.json => {
            let overview = Overview::default();
            print_checked(&overview, faults.lines(), &[])?;
            return Err(told());
        }
        Err(faults) => return Err(faults),
    };
    let overview = Overview::new(config);
    let mut faults: Vec<String> = local::wait(host::keytab_faults(config))?
        .iter()
        .map(ToString::to_string)
        .collect();
    faults.extend(local::wait(directory::faults(config))?);
    faults.extend(host::authority_fault(config).map(|fault| fault.to_string()));
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    let printed = if output.json {
        print_checked(&overview, &faults, &warnings)
    } else {
        let printed = print(&overview.text(width(&Term::stdout())));
        complain(warnings.iter().map(|warning| format!("warning: {warning}")));
        complain(&faults);
        printed
    };
    printed?;
    if faults.is_empty() {
        Ok(Done::Good)
    } else {
        Err(told())
    }
}

/// Error for faults that are printed already, or in the JSON.
fn told() -> CommandError {
    CommandError::wrong(std::iter::empty::<String>())
}

fn print_checked(
    overview: &Overview,
    faults: &[String],
    warnings: &[String],
) -> Result<(), CommandError> {
    print_json(&serde_json::json!({
        "deliveries": overview.deliveries,
        "searches": overview.searches,
        "faults": faults,
        "warnings": warnings,
    }))
}
