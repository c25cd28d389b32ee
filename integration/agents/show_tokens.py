#!/usr/bin/python3
"""A job that reads its access tokens again and again, as a long job does at each use.

    show_tokens.py [--until FILE] COUNT SERVICE...

Prints a line of JSON with the claims of each new token, never the token, and ends when each service
has had COUNT of them (and FILE is there, for who wants to say when). A program that uses tokens must
do the same: read the file each time, for HTCondor replaces it while the job runs.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
import time


def claims(service: str) -> dict:
    """What the token of a service says of itself, now."""
    with open(os.path.join(os.environ["_CONDOR_CREDS"], service + ".use"), encoding="ascii") as file:
        payload = file.read().split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def main() -> int:
    """Watches until all were seen."""
    parser = argparse.ArgumentParser(description="Prints the claims of each token that a job is given.")
    parser.add_argument("--until", help="go on until this file is there")
    parser.add_argument("count", type=int, help="how many tokens of each service")
    parser.add_argument("services", nargs="+", help="HTCondor's service names")
    arguments = parser.parse_args()

    seen: dict[str, list[str]] = {service: [] for service in arguments.services}

    def enough() -> bool:
        told = arguments.until is None or os.path.exists(arguments.until)
        return told and all(len(ids) >= arguments.count for ids in seen.values())

    while not enough():
        for service in arguments.services:
            token = claims(service)
            if token["jti"] in seen[service]:
                continue
            seen[service].append(token["jti"])
            shown = {name: token[name] for name in ("jti", "sub", "aud", "scope", "exp")}
            print(json.dumps({"service": service, "left": token["exp"] - int(time.time()), **shown}), flush=True)
        time.sleep(1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
