//! The machine that figures were measured on, without its name.

use std::fs;

use anyhow::Context as _;
use serde::Serialize;

/// What figures depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The processor's model.
    pub processor: String,
    /// Processors that programs can run on.
    pub cores: usize,
    /// Memory in gigabytes (2^30 bytes).
    pub memory: u64,
    /// The kernel's version without what its builder appends.
    pub kernel: String,
}

impl Machine {
    /// This one.
    pub fn here() -> anyhow::Result<Self> {
        let cpuinfo = read("/proc/cpuinfo")?;
        let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
        let model = model.and_then(|line| line.split_once(':'));
        let meminfo = read("/proc/meminfo")?;
        let kilobytes: u64 = meminfo
            .split_whitespace()
            .nth(1)
            .and_then(|number| number.parse().ok())
            .context("/proc/meminfo begins with the whole memory")?;
        let kernel = read("/proc/sys/kernel/osrelease")?;
        Ok(Self {
            processor: model.map_or("unknown", |(_, name)| name.trim()).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory: kilobytes.div_ceil(1024 * 1024),
            kernel: kernel
                .trim()
                .split('-')
                .next()
                .unwrap_or_default()
                .to_owned(),
        })
    }
}

/// How many processes wanted to run, on average over the last minute.
pub fn load() -> anyhow::Result<f64> {
    let text = read("/proc/loadavg")?;
    let first = text.split_whitespace().next();
    first
        .and_then(|number| number.parse().ok())
        .context("/proc/loadavg begins with a number")
}

fn read(file: &str) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {file}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_machine_has_a_core_and_memory() {
        let machine = Machine::here().unwrap();
        assert!(machine.cores > 0 && machine.memory > 0, "{machine:?}");
        assert!(machine.kernel.contains('.'), "{machine:?}");
        assert!(load().unwrap() >= 0.0);
    }
}
