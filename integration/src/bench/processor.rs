//! Processor time that a process has used, with all that it has started.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use nix::unistd::Pid;

/// The kernel tells processor time to programs in hundredths of a second, on every architecture
/// that HTCondor runs on (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// Where the four times stand in `/proc/PID/stat`, counted after the process's name: of itself in
/// user and kernel mode, and the same of its dead children that it waited for.
const TIMES: [usize; 4] = [11, 12, 13, 14];

/// What a process, its living descendants and those that ended and were waited for have used.
pub fn of_tree(pid: Pid) -> anyhow::Result<Duration> {
    let stat = read(&format!("/proc/{pid}/stat"))?;
    let mut used = used(&stat).with_context(|| format!("/proc/{pid}/stat: {stat}"))?;
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .with_context(|| format!("cannot list the threads of process {pid}"))?;
    for task in tasks {
        // Any thread may have started a process; one that has just ended has none.
        let Ok(children) = fs::read_to_string(task?.path().join("children")) else {
            continue;
        };
        for child in children.split_whitespace() {
            let child = child.parse().context("processes are listed by number")?;
            used += of_tree(Pid::from_raw(child))?;
        }
    }
    Ok(used)
}

/// The times in a line of `/proc/PID/stat`.
fn used(stat: &str) -> Option<Duration> {
    // The name may hold blanks and brackets: count after its end.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let mut ticks = 0_u32;
    for place in TIMES {
        ticks = ticks.checked_add(fields.get(place)?.parse().ok()?)?;
    }
    Some(TICK * ticks)
}

fn read(file: &str) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {file}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_children_are_counted() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 100 0 0 0 12 3 40 5 20 0 1 0 99 1 1";
        assert_eq!(used(stat), Some(Duration::from_millis(600)));
        assert_eq!(used("7 (a"), None);
    }

    #[test]
    fn this_process_can_be_asked() {
        of_tree(Pid::this()).unwrap();
    }
}
