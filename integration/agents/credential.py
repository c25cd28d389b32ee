"""Before jobs are submitted: is the account's credential good at this schedd?

Two are asked, beside the schedd and as the account that submits. The credd knows what is stored for
whom it takes us for; but it says "is valid" of a token that has ended, too. The credential monitor
knows how long the access token lives, and whether it is renewed. No token is read, none is printed.

Copy this file: it needs `htcondor` from PyPI and nothing else.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass

import htcondor2 as htcondor

# What the agents end with; 2 is wrong usage, as everywhere.
DONE = 0
FAILED = 1
NOT_SUBMITTED = 3

# HTCondor's HoldReasonCode for "Job credentials are not available".
CREDENTIALS_MISSING = 4


@dataclass(frozen=True)
class Verdict:
    """Whether jobs may be submitted that use this service, and what speaks for or against it."""

    service: str
    good: bool
    why: str


def ask(account: str, service: str, min_life: str) -> Verdict:
    """Asks credd and monitor; `min_life` (such as 20m) is what the access token must have left."""
    trouble = ask_credd(service)
    if trouble is not None:
        return Verdict(service, False, trouble)
    return ask_monitor(account, service, min_life)


def ask_credd(service: str) -> str | None:
    """What is wrong with what the credd has stored for us, if anything."""
    try:
        answer = htcondor.Credd().query_user_service_cred(htcondor.CredType.OAuth, service)
    except htcondor.HTCondorException as error:
        return f"the credd does not answer ({one_line(error)}): ask again later"
    # Lines such as `Topcms_crabTime = 1795347858`.
    stored = dict(line.split(" = ", 1) for line in str(answer).splitlines() if " = " in line)
    if f"Top{service}Time" not in stored:
        user = stored.get("fully_qualified_user", "this user")
        return f"nothing is stored for {user}: the bastion has not delivered it yet"
    if service not in stored:
        return "stored, but no access token was made of it yet: ask again in a minute"
    return None


def ask_monitor(account: str, service: str, min_life: str) -> Verdict:
    """What the credential monitor says of the access token in place."""
    monitor = htcondor.param.get("CREDMON_OAUTH", "condor_credmon_htvault")
    command = [monitor, "status", "--json"]
    command += ["--user", account, "--service", service, "--min-life", min_life]
    try:
        status = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Verdict(service, False, f"the credential monitor cannot be asked: {error}")
    # Its exit code is the verdict: 0 yes, 1 no, 2 it cannot be told.
    if status.returncode not in (0, 1):
        return Verdict(service, False, one_line(status.stderr))
    report = json.loads(status.stdout)
    told = [describe(credential, min_life) for credential in report["credentials"]]
    return Verdict(service, status.returncode == 0, "; ".join(told + report["complaints"]))


def describe(credential: dict, min_life: str) -> str:
    """A credential of the monitor's report in a line."""
    left = credential["access_token_left"]
    why = "; ".join(filter(None, [credential["why"], credential["advice"]]))
    if left is None:
        life = "no access token"
    elif left == 0:
        life = "the access token has ended"
    else:
        life = f"the access token has {left} s left"
        # Neither that it is dead: it lives shorter than asked for.
        if not credential["usable"] and credential["state"] != "dead":
            life += f", less than {min_life}"
    return f"{credential['state']}, {life}" + (f" ({one_line(why)})" if why else "")


def ask_all(account: str, services: list[str], min_life: str) -> bool:
    """Asks for every service, says what is wrong, and gives whether all are good."""
    verdicts = [ask(account, service, min_life) for service in services]
    for verdict in verdicts:
        say(f"credential {verdict.service}: {'good' if verdict.good else 'NOT GOOD'}: {verdict.why}")
    return all(verdict.good for verdict in verdicts)


def one_line(text: object) -> str:
    """An error text of several lines in one."""
    return " ".join(str(text).split())


def say(text: str) -> None:
    """A line of the agent's log."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stdout, flush=True)
