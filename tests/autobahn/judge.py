"""Judges the reports of Autobahn's fuzzing client (Python 2.7 and 3): prints the counts, exits 1 when a case failed.

Passing is OK or INFORMATIONAL, with a clean close; NON-STRICT is a failure. A case that sends a binary message is also passed by a close
frame with code 1003, because the gateway takes text only. Those cases are known by what the suite sent, not by a list of their numbers.
"""

import json
import os
import sys

PASSES = ("OK", "INFORMATIONAL")
REFUSES_BINARY = 1003


def sends_binary(report):
    """Whether the first message of the case is binary, which is refused at its first byte."""
    stats = report.get("txFrameStats") or {}
    return "2" in stats and "1" not in stats


def judge(case, result, report):
    if sends_binary(report) and report["remoteCloseCode"] == REFUSES_BINARY:
        return "BINARY REFUSED"
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
