"""Judges the reports of Autobahn's fuzzing client (Python 2.7 and 3): prints the counts, exits 1 when a case failed.

Passing is OK or INFORMATIONAL, with a clean close; NON-STRICT is a failure.
"""

import json
import os
import sys

PASSES = ("OK", "INFORMATIONAL")


def judge(result):
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
            verdict = judge(result)
            if verdict.startswith("FAILED"):
                failed.append((case, verdict))
                verdict = "FAILED"
            counts[verdict] = counts.get(verdict, 0) + 1
    total = sum(counts.values())
    print("m28 Autobahn: %d cases: %s" % (total, ", ".join("%d %s" % (n, verdict) for verdict, n in sorted(counts.items()))))
    for case, verdict in sorted(failed):
        print("  %s %s" % (case, verdict))
    return 1 if failed or total == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
