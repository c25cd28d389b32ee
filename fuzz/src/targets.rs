//! The targets: name, and the function that gets the input.

/// A target.
pub type Target = (&'static str, fn(&[u8]));

/// All targets, in the order of docs/security.md.
pub const TARGETS: [Target; 15] = [
    ("top_file", credmon::fuzzing::top_file),
    ("use_file", credmon::fuzzing::use_file),
    ("names", credmon::fuzzing::names),
    ("condor_config_val", credmon::fuzzing::condor_config_val),
    ("vault_answer", htvault::fuzzing::answer),
    ("token", htvault::fuzzing::token),
    ("credential_url", htvault::fuzzing::credential_url),
    ("configuration", bastion::fuzzing::configuration),
    ("collector_answer", bastion::fuzzing::collector_answer),
    ("credd_answer", bastion::fuzzing::credd_answer),
    ("order", bastion::fuzzing::order),
    ("http_request", bastion::fuzzing::http_request),
    ("cedar_ads", htcondor_cedar::fuzzing::ads),
    ("cedar_address", htcondor_cedar::fuzzing::address),
    ("cedar_daemon", htcondor_cedar::fuzzing::daemon),
];
