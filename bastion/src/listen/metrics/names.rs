//! Which metrics there are, and what they mean.
//!
//! `docs/monitoring.md` lists the same ones, which a test sees to.

/// A metric: its name, its sort, what it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// `gauge`, `counter` or `histogram`.
    pub kind: &'static str,
    /// What it tells.
    pub help: &'static str,
}

const fn metric(name: &'static str, kind: &'static str, help: &'static str) -> Metric {
    Metric { name, kind, help }
}

pub(super) const INFO: Metric = metric(
    "token_bastion_info",
    "gauge",
    "1, with the program's version as a label.",
);
pub(super) const STARTED: Metric = metric(
    "token_bastion_start_timestamp_seconds",
    "gauge",
    "When it started.",
);
pub(super) const TURNED: Metric = metric(
    "token_bastion_report_timestamp_seconds",
    "gauge",
    "When what is told here was so.",
);
pub(super) const DELIVERIES: Metric = metric(
    "token_bastion_deliveries",
    "gauge",
    "Deliveries in each state.",
);
pub(super) const FAILING: Metric = metric(
    "token_bastion_failing_deliveries",
    "gauge",
    "Deliveries that fail, by sort of problem and by who must act.",
);
pub(super) const STATE: Metric = metric(
    "token_bastion_delivery_state",
    "gauge",
    "1 for the state that a delivery is in, 0 for the others.",
);
pub(super) const VAULT: Metric = metric(
    "token_bastion_vault_token_expiry_timestamp_seconds",
    "gauge",
    "When the vault token at the schedd ends.",
);
pub(super) const ACCESS: Metric = metric(
    "token_bastion_access_token_expiry_timestamp_seconds",
    "gauge",
    "When the access token ends that was last read with it.",
);
pub(super) const SAFE: Metric = metric(
    "token_bastion_jobs_safe_until_timestamp_seconds",
    "gauge",
    "Until when jobs surely have an access token if nothing more succeeds.",
);
pub(super) const SUCCESS: Metric = metric(
    "token_bastion_last_success_timestamp_seconds",
    "gauge",
    "When a delivery was last found or made good.",
);
pub(super) const NEXT: Metric = metric(
    "token_bastion_next_step_timestamp_seconds",
    "gauge",
    "When something is done next for a delivery.",
);
pub(super) const REQUEST_LIMIT: Metric = metric(
    "token_bastion_vault_requests_limit",
    "gauge",
    "How many requests may be sent to Vault in any span of vault.requests.per.",
);
pub(super) const REQUESTS: Metric = metric(
    "token_bastion_vault_requests_used",
    "gauge",
    "How many were sent in the span that ended with the report.",
);
pub(super) const STAGES: Metric = metric(
    "token_bastion_stage_seconds",
    "histogram",
    "How long the stages of tries took.",
);
pub(super) const FAILURES: Metric = metric(
    "token_bastion_stage_failures_total",
    "counter",
    "How often a stage failed, by sort of problem.",
);
pub(super) const LOG_LINES: Metric = metric(
    "token_bastion_log_lines_dropped_total",
    "counter",
    "Log lines that could not be written.",
);
pub(super) const CONFIGURATION: Metric = metric(
    "token_bastion_configuration_ok",
    "gauge",
    "1 while the configuration on disk is the one in force, 0 while it has faults and is not used.",
);
pub(super) const STATE_WRITTEN: Metric = metric(
    "token_bastion_state_ok",
    "gauge",
    "1 while the state directory can be written, 0 while what is known would be lost by a restart.",
);
pub(super) const MEMORY: Metric = metric(
    "process_resident_memory_bytes",
    "gauge",
    "Resident memory of the process.",
);
pub(super) const PROCESSOR: Metric = metric(
    "process_cpu_seconds_total",
    "counter",
    "Processor time that the process used.",
);

/// All metrics, in the order in which they are written.
pub const METRICS: [Metric; 20] = [
    INFO,
    STARTED,
    TURNED,
    DELIVERIES,
    FAILING,
    STATE,
    VAULT,
    ACCESS,
    SAFE,
    SUCCESS,
    NEXT,
    REQUEST_LIMIT,
    REQUESTS,
    STAGES,
    FAILURES,
    LOG_LINES,
    CONFIGURATION,
    STATE_WRITTEN,
    MEMORY,
    PROCESSOR,
];
