#!/usr/bin/env python3
"""A CRAB task worker: asks, submits the jobs of a task, and follows them by their event log.

    crab_task_worker.py [--service cms_crab] [--jobs N] [--min-life 20m] TASK PROGRAM [ARGUMENT...]

The event log TASK.log is a file that HTCondor writes: to follow it costs the schedd nothing, and it goes
on after a restart of the schedd, or of this program.

Exit codes: 0 all jobs ended well; 1 one did not; 2 wrong usage; 3 nothing was submitted, since the
credential is not good.
"""

from __future__ import annotations

import argparse
import getpass
import sys

import htcondor2 as htcondor
from credential import CREDENTIALS_MISSING, DONE, FAILED, NOT_SUBMITTED, ask_all, one_line, say

Event = htcondor.JobEventType

WORDS = {
    Event.SUBMIT: "submitted",
    Event.EXECUTE: "runs",
    Event.JOB_DISCONNECTED: "runs on, disconnected from the schedd",
    Event.JOB_RECONNECTED: "connected again",
    Event.JOB_EVICTED: "evicted",
    Event.JOB_RELEASED: "released",
    Event.JOB_ABORTED: "removed",
}


def submit(arguments: argparse.Namespace) -> set[str]:
    """Submits the jobs of the task; gives their names."""
    description = htcondor.Submit(
        {
            "executable": arguments.program,
            "arguments": " ".join(arguments.argument),
            "use_oauth_services": arguments.service,
            "output": f"{arguments.task}.$(ProcId).out",
            "error": f"{arguments.task}.$(ProcId).err",
            "log": f"{arguments.task}.log",
            "should_transfer_files": "YES",
            "request_cpus": "1",
            "request_memory": "64M",
            "request_disk": "10M",
            "My.CRAB_ReqName": htcondor.classad.quote(arguments.task),
        }
    )
    submitted = htcondor.Schedd().submit(description, count=arguments.jobs)
    return {f"{submitted.cluster()}.{number}" for number in range(submitted.num_procs())}


def release(jobs: set[str], arguments: argparse.Namespace) -> None:
    """Releases jobs that were held for want of credentials, once these are good."""
    if ask_all(arguments.account, [arguments.service], arguments.min_life):
        try:
            htcondor.Schedd().act(htcondor.JobAction.Release, sorted(jobs))
        except htcondor.HTCondorException as error:
            say(f"the schedd does not answer ({one_line(error)}): asked again")


def follow(jobs: set[str], arguments: argparse.Namespace) -> int:
    """Follows the jobs to their end; gives how many did not end well."""
    failed, held = 0, set()
    log = htcondor.JobEventLog(f"{arguments.task}.log")
    while jobs:
        for event in log.events(stop_after=arguments.poll):
            job = f"{event.cluster}.{event.proc}"
            if job not in jobs:
                continue
            held.discard(job)
            if event.type == Event.JOB_HELD:
                code = event.get("HoldReasonCode")
                say(f"job {job}: held, code {code}: {one_line(event.get('HoldReason'))}")
                if code == CREDENTIALS_MISSING:
                    held.add(job)
                    continue
            elif event.type == Event.JOB_TERMINATED:
                say(f"job {job}: ended with exit code {event.get('ReturnValue')}")
            elif event.type in WORDS:
                say(f"job {job}: {WORDS[event.type]}")
            if event.type in (Event.JOB_HELD, Event.JOB_ABORTED, Event.JOB_TERMINATED):
                jobs.remove(job)
                failed += event.get("ReturnValue") != 0
            if not jobs:
                break
        if held:
            release(held, arguments)
    return failed


def main() -> int:
    """Asks, submits, follows."""
    parser = argparse.ArgumentParser(description="Submits the jobs of a CRAB task, and follows them.")
    parser.add_argument("--account", default=getpass.getuser(), help="whose credential (default: who runs this)")
    parser.add_argument("--service", default="cms_crab", help="HTCondor's service name (default: %(default)s)")
    parser.add_argument("--min-life", default="20m", help="what the access token must have left (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="how many jobs (default: %(default)s)")
    parser.add_argument("--poll", type=int, default=60, help="seconds to wait for events (default: %(default)s)")
    parser.add_argument("task", help="name of the task")
    parser.add_argument("program", help="what the jobs run")
    parser.add_argument("argument", nargs=argparse.REMAINDER, help="and its arguments")
    arguments = parser.parse_args()

    if not ask_all(arguments.account, [arguments.service], arguments.min_life):
        say(f"task {arguments.task} is not submitted: try it again later")
        return NOT_SUBMITTED
    failed = follow(submit(arguments), arguments)
    say(f"task {arguments.task}: " + (f"{failed} jobs did not end well" if failed else "all jobs ended well"))
    return FAILED if failed else DONE


if __name__ == "__main__":
    sys.exit(main())
