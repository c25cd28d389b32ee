//! Processor time that a process has used, with all that it has started.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use tokio::process::Child;

/// The kernel tells processor time to programs in hundredths of a second, on every architecture
/// that HTCondor runs on (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// Where the four times stand in `/proc/PID/stat`, counted after the process's name: of itself in
/// user and kernel mode, and the same of its dead children that it waited for.
const TIMES: [usize; 4] = [11, 12, 13, 14];

/// What a process has used when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Itself.
    pub own: Duration,
    /// What it had started and waited for, with all that these had started.
    pub children: Duration,
}

/// Waits for its end, and leaves it to be waited for: until then the kernel still knows the figures.
pub async fn at_its_end(child: &Child) -> anyhow::Result<Used> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let pid = Pid::from_raw(pid.context("it was waited for already")?);
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    let wait = move || waitid(Id::Pid(pid), flags);
    let ended = tokio::task::spawn_blocking(wait).await;
    ended.context("the wait was cut short")??;
    let stat = read(&format!("/proc/{pid}/stat"))?;
    let used = ticks(&stat).with_context(|| format!("/proc/{pid}/stat: {stat}"))?;
    let [own_user, own_kernel, children_user, children_kernel] = used.map(|ticks| TICK * ticks);
    Ok(Used {
        own: own_user + own_kernel,
        children: children_user + children_kernel,
    })
}

/// What a process, its living descendants and those that ended and were waited for have used.
pub fn of_tree(pid: Pid) -> anyhow::Result<Duration> {
    let stat = read(&format!("/proc/{pid}/stat"))?;
    let dead = of_dead_children(&stat).with_context(|| format!("/proc/{pid}/stat: {stat}"))?;
    let mut used = own(pid)? + dead;
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

/// What a living process has used itself, to the nanosecond: a look each minute takes less than a tick.
fn own(pid: Pid) -> anyhow::Result<Duration> {
    let time = clock_getcpuclockid(pid).and_then(clock_gettime);
    let time = time.with_context(|| format!("the processor clock of process {pid}"))?;
    Ok(time.into())
}

/// What the dead children in a line of `/proc/PID/stat` have used.
fn of_dead_children(stat: &str) -> Option<Duration> {
    let [_, _, user, kernel] = ticks(stat)?;
    Some(TICK * user.checked_add(kernel)?)
}

/// The times in a line of `/proc/PID/stat`, in the order of [`TIMES`].
fn ticks(stat: &str) -> Option<[u32; 4]> {
    // The name may hold blanks and brackets: count after its end.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let mut ticks = [0; 4];
    for (ticks, place) in ticks.iter_mut().zip(TIMES) {
        *ticks = fields.get(place)?.parse().ok()?;
    }
    Some(ticks)
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
        assert_eq!(of_dead_children(stat), Some(Duration::from_millis(450)));
        assert_eq!(of_dead_children("7 (a"), None);
    }

    #[test]
    fn this_process_can_be_asked() {
        let before = of_tree(Pid::this()).unwrap();
        assert!(of_tree(Pid::this()).unwrap() > before);
    }
}
