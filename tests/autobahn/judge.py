"""Judges the reports of Autobahn's fuzzing client (Python 2.7 and 3): prints the counts, exits 1 when a case failed.

Passing is OK or INFORMATIONAL, with a clean close. Cases that send a binary message have their own rule: the gateway takes text only, so
the one right answer is a close frame with code 1003. Those are known by what the suite sent, not by a list of their numbers.
"""

import json
import os
import sys

PASSES = ("OK", "INFORMATIONAL")
REFUSES_BINARY = 1003


def sends_binary(report):
    """Whether the first message of the case is binary; the gateway answers that at its first byte."""
    stats = report.get("txFrameStats") or {}
    return "2" in stats and "1" not in stats


def judge(case, result, report):
    if sends_binary(report):
        if report["remoteCloseCode"] == REFUSES_BINARY:
            return "BINARY REFUSED"
        return "FAILED: binary was not answered with 1003"
    if result["behavior"] not in PASSES:
        return "FAILED: " + result["behavior"]
    if result["behaviorClose"] not in PASSES:
        return "FAILED: close " + result["behaviorClose"]
    return result["behavior"]


def main(reports):
    with open(os.path.join(reports, "index.json")) as index:
        agents = json.load(index)
    counts, failed = {}, []
    for results in agents.values():
        for case, result in results.items():
            with open(os.path.join(reports, result["reportfile"])) as report:
                verdict = judge(case, result, json.load(report))
            if verdict.startswith("FAILED"):
                failed.append((case, verdict))
                verdict = "FAILED"
            counts[verdict] = counts.get(verdict, 0) + 1
    total = sum(counts.values())
    print("Autobahn: %d cases: %s" % (total, ", ".join("%d %s" % (n, verdict) for verdict, n in sorted(counts.items()))))
    for case, verdict in sorted(failed):
        print("  %s %s" % (case, verdict))
    return 1 if failed or total == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
