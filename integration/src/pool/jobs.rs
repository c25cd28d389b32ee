//! Jobs of a pool: submit, watch, read what they wrote.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::Pool;
use crate::wait;

/// A job in the queue, or one that has left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Who submitted it.
    pub user: String,
    /// Its number: it is the process 0 of this cluster.
    pub cluster: u32,
    /// Its folder as seen inside the pool, with `job.sub`, `out`, `err` and `log`.
    pub folder: String,
}

/// How a job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// Waits for a slot.
    Idle,
    /// Runs, or moves its files.
    Running,
    /// Is held, with HTCondor's code and reason.
    Held {
        /// `HoldReasonCode`, for example 4: "Job credentials are not available".
        code: i64,
        /// `HoldReason`.
        reason: String,
    },
    /// Ended by itself, with this exit code (none: by a signal).
    Completed(Option<i64>),
    /// Was removed.
    Removed,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Advertisement {
    job_status: i64,
    exit_code: Option<i64>,
    hold_reason_code: Option<i64>,
    hold_reason: Option<String>,
}

impl Pool {
    /// Submits a job: the lines of its description without `queue`, for example
    /// `executable = /bin/true`. Output goes to files in the job's own folder.
    pub async fn submit(&self, user: &str, description: &str) -> anyhow::Result<Job> {
        let text = format!(
            "request_cpus = 1\nrequest_memory = 32M\nrequest_disk = 1M\n\
             transfer_executable = false\n\
             output = out\nerror = err\nlog = log\n{description}\nqueue\n"
        );
        let script = "set -e; folder=$(mktemp -d ~/job-XXXXXX); cd $folder; cat > job.sub; \
                      condor_submit -terse job.sub; pwd";
        let answer = self
            .run_with_input(user, &["sh", "-c", script], &text)
            .await?
            .success()
            .context("cannot submit a job")?;
        // "1.0 - 1.0", then the folder.
        let mut lines = answer.lines();
        let cluster = lines
            .next()
            .and_then(|line| line.split('.').next())
            .and_then(|number| number.parse().ok());
        match (cluster, lines.next()) {
            (Some(cluster), Some(folder)) => Ok(Job {
                user: user.to_owned(),
                cluster,
                folder: folder.to_owned(),
            }),
            _ => bail!("condor_submit gave no job number, but:\n{answer}"),
        }
    }

    /// How a job is now: from the queue, or else from the history.
    pub async fn job_state(&self, job: &Job) -> anyhow::Result<JobState> {
        let id = format!("{}.0", job.cluster);
        let attributes = "JobStatus,ExitCode,HoldReasonCode,HoldReason";
        for query in [
            vec!["condor_q", &id, "-json", "-attributes", attributes],
            vec![
                "condor_history",
                &id,
                "-limit",
                "1",
                "-json",
                "-attributes",
                attributes,
            ],
        ] {
            let text = self.run("root", &query).await?.success()?;
            if text.trim().is_empty() {
                continue;
            }
            let found: Vec<Advertisement> = serde_json::from_str(&text)
                .with_context(|| format!("not what {} should print:\n{text}", query.join(" ")))?;
            if let Some(advertisement) = found.into_iter().next() {
                return advertisement.state();
            }
        }
        bail!("job {id} is neither in the queue nor in the history")
    }

    /// Waits until a job has ended by itself, and gives its exit code.
    pub async fn wait_job(&self, job: &Job, deadline: Duration) -> anyhow::Result<i64> {
        let ended = self
            .wait_job_state(job, "its end", deadline, |state| {
                matches!(
                    state,
                    JobState::Completed(_) | JobState::Removed | JobState::Held { .. }
                )
            })
            .await?;
        match ended {
            JobState::Completed(Some(code)) => Ok(code),
            other => bail!(
                "job {} did not end by itself but is {other:?}; what it wrote:\n{}{}",
                job.cluster,
                self.job_output(job)?,
                self.job_errors(job)?
            ),
        }
    }

    /// Waits until a job is as `wanted` says; `what` names that in the message.
    pub async fn wait_job_state(
        &self,
        job: &Job,
        what: &str,
        deadline: Duration,
        wanted: impl Fn(&JobState) -> bool,
    ) -> anyhow::Result<JobState> {
        let what = format!("job {}: {what}", job.cluster);
        wait::until(&what, deadline, async || {
            let state = self.job_state(job).await?;
            if wanted(&state) {
                return Ok(state);
            }
            bail!("it is {state:?}")
        })
        .await
    }

    /// What a job wrote to its standard output so far (with `stream_output = true`; otherwise at its end).
    pub fn job_output(&self, job: &Job) -> anyhow::Result<String> {
        self.job_file(job, "out")
    }

    /// What a job wrote to its standard error.
    pub fn job_errors(&self, job: &Job) -> anyhow::Result<String> {
        self.job_file(job, "err")
    }

    fn job_file(&self, job: &Job, name: &str) -> anyhow::Result<String> {
        let file = self.path(&job.folder).join(name);
        match fs::read(&file) {
            Ok(content) => Ok(String::from_utf8_lossy(&content).into_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }
}

impl Advertisement {
    fn state(self) -> anyhow::Result<JobState> {
        Ok(match self.job_status {
            1 => JobState::Idle,
            // Running, transferring output, suspended.
            2 | 6 | 7 => JobState::Running,
            3 => JobState::Removed,
            4 => JobState::Completed(self.exit_code),
            5 => JobState::Held {
                code: self.hold_reason_code.unwrap_or_default(),
                reason: self.hold_reason.unwrap_or_default(),
            },
            other => bail!("HTCondor knows a job status {other} that we do not"),
        })
    }
}
