#!/usr/bin/env python3
"""A production agent: asks, submits a batch, and follows it by queries, whatever restarts meanwhile.

    production_agent.py [--services cms cms_production] [--jobs N] [--min-life 20m] PROGRAM [ARGUMENT...]

Exit codes: 0 all jobs ended well; 1 one did not; 2 wrong usage; 3 nothing was submitted, since a
credential is not good.

A job that is held since its credentials were missing (HoldReasonCode 4) does not go on by itself when
they are back. It is released once they are good; if it is held so again, it is submitted anew.
"""

from __future__ import annotations

import argparse
import getpass
import sys
import time

import htcondor2 as htcondor
from credential import CREDENTIALS_MISSING, DONE, FAILED, NOT_SUBMITTED, ask_all, one_line, say

ATTRIBUTES = ["ClusterId", "ProcId", "JobStatus", "ExitCode", "HoldReasonCode", "HoldReason"]


class Batch:
    """The jobs that were submitted together, and how each is."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        """No jobs yet."""
        self.arguments = arguments
        # Jobs that have not ended, with the status told last.
        self.open: dict[str, str] = {}
        self.released: set[str] = set()
        self.failed = 0

    def submit(self, count: int) -> None:
        """Submits so many jobs."""
        arguments = self.arguments
        description = htcondor.Submit(
            {
                "executable": arguments.program,
                "arguments": " ".join(arguments.argument),
                "use_oauth_services": ", ".join(arguments.services),
                "output": "production.$(ClusterId).$(ProcId).out",
                "error": "production.$(ClusterId).$(ProcId).err",
                "should_transfer_files": "YES",
                "request_cpus": "1",
                "request_memory": "64M",
                "request_disk": "10M",
            }
        )
        submitted = htcondor.Schedd().submit(description, count=count)
        for number in range(submitted.num_procs()):
            job = f"{submitted.cluster()}.{number}"
            self.open[job] = ""
            say(f"job {job}: submitted")

    def look(self) -> None:
        """One look at all jobs that have not ended."""
        clusters = sorted({job.split(".")[0] for job in self.open})
        mine = " || ".join(f"ClusterId == {cluster}" for cluster in clusters)
        # Located each time: after a restart the schedd may have another address.
        schedd = htcondor.Schedd()
        queue = schedd.query(mine, projection=ATTRIBUTES)
        ended = schedd.history(mine, ATTRIBUTES) if len(queue) < len(self.open) else []
        held = []
        for ad in [*queue, *ended]:
            job = f"{ad['ClusterId']}.{ad['ProcId']}"
            if job in self.open and self.tell(job, ad):
                held.append(job)
        if held and ask_all(self.arguments.account, self.arguments.services, self.arguments.min_life):
            for job in held:
                self.set_going(schedd, job)

    def tell(self, job: str, ad: htcondor.classad.ClassAd) -> bool:
        """Notes how a job is; gives whether it is held for want of credentials."""
        status, code = ad["JobStatus"], ad.get("HoldReasonCode")
        if status == htcondor.JobStatus.HELD:
            now = f"held, code {code}: {one_line(ad.get('HoldReason'))}"
        elif status == htcondor.JobStatus.COMPLETED:
            now = f"ended with exit code {ad.get('ExitCode')}"
        else:
            now = htcondor.JobStatus(status).name.lower().replace("_", " ")
        if now != self.open[job]:
            say(f"job {job}: {now}")
            self.open[job] = now
        if status == htcondor.JobStatus.HELD:
            if code == CREDENTIALS_MISSING:
                return True
            # Somebody has to look at it: no matter of credentials.
            self.end(job, well=False)
        elif status == htcondor.JobStatus.COMPLETED:
            self.end(job, well=ad.get("ExitCode") == 0)
        elif status == htcondor.JobStatus.REMOVED:
            self.end(job, well=False)
        return False

    def set_going(self, schedd: htcondor.Schedd, job: str) -> None:
        """The credentials are good again: a job that was held for want of them may go on."""
        if job not in self.released:
            schedd.act(htcondor.JobAction.Release, job)
            self.released.add(job)
            say(f"job {job}: released, the credentials are good again")
            return
        schedd.act(htcondor.JobAction.Remove, job)
        del self.open[job]
        say(f"job {job}: held a second time, removed and submitted anew")
        self.submit(1)

    def end(self, job: str, *, well: bool) -> None:
        """A job needs no more looks."""
        del self.open[job]
        self.failed += 0 if well else 1


def main() -> int:
    """Asks, submits, follows."""
    parser = argparse.ArgumentParser(description="Submits a batch of jobs that use tokens, and follows it.")
    parser.add_argument("--account", default=getpass.getuser(), help="whose credentials (default: who runs this)")
    parser.add_argument("--services", nargs="+", default=["cms", "cms_production"], help="HTCondor's service names")
    parser.add_argument("--min-life", default="20m", help="what an access token must have left (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="how many jobs (default: %(default)s)")
    parser.add_argument("--poll", type=float, default=60, help="seconds between two looks (default: %(default)s)")
    parser.add_argument("program", help="what the jobs run")
    parser.add_argument("argument", nargs=argparse.REMAINDER, help="and its arguments")
    arguments = parser.parse_args()

    if not ask_all(arguments.account, arguments.services, arguments.min_life):
        say("nothing is submitted: such jobs would be held, or run with a token that has ended")
        return NOT_SUBMITTED
    batch = Batch(arguments)
    batch.submit(arguments.jobs)
    while batch.open:
        time.sleep(arguments.poll)
        try:
            batch.look()
        except htcondor.HTCondorException as error:
            # A restart: jobs go on without it.
            say(f"the schedd does not answer ({one_line(error)}): asked again")
    say(f"{batch.failed} jobs did not end well" if batch.failed else "all jobs ended well")
    return FAILED if batch.failed else DONE


if __name__ == "__main__":
    sys.exit(main())
