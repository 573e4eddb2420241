#!/usr/bin/env python3
"""One plan offered by 1, 2 and 5 worker processes: how near its instants they come, and how alike what they measure is.

That the requests are the same is what tests/command/fleet.rs holds; this is about time, so it is a report and not a test.
The aims on a machine that has nothing else to do: arrivals within 5 ms of the plan, p50 within 1 ms and p99 within 5 ms
between the sizes, start skew below 5 ms.

usage: scripts/long/fleet-sizes.py [SECONDS]      (15 a size)
environment: TOKENSTORM, the program (default: target/debug/tokenstorm)
"""

import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

PROGRAM = os.environ.get("TOKENSTORM", "target/debug/tokenstorm")
RATE = 60
AIMS_MS = {"arrival": 5, "p50": 1, "p99": 5, "skew": 5}


def quantile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def offered_by(workers, seconds, folder):
    """Arrivals' distances from the plan, e2e p50 and p99, start skews: milliseconds."""
    simulate = [PROGRAM, "simulate", "--listen", "127.0.0.1:0", "--fixed"]
    simulator = subprocess.Popen(simulate, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        line = simulator.stdout.readline()
        base = next(word for word in line.split() if word.startswith("http://")).rstrip(":;,")
        results = pathlib.Path(folder) / str(workers)
        run = [PROGRAM, "run", "--endpoint", f"{base}/v1", "--rate", str(RATE), "--duration", str(seconds), "--no-probe"]
        run += ["--workers", str(workers), "--output", str(results), "--set", "prompts.outputLength.mean=12"]
        subprocess.run(run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        summary = json.loads(next(results.glob("*/summary.json")).read_text())
        with urllib.request.urlopen(f"{base}/truth?requests=1") as answer:
            arrivals = sorted(request["arrivalUnixNs"] for request in json.load(answer)["requests"])
    finally:
        simulator.kill()
        simulator.wait()
    began = datetime.datetime.fromisoformat(summary["run"]["startedAt"].replace("Z", "+00:00")).timestamp() * 1e9
    late = [(arrival - began) / 1e6 - 1e3 * number / RATE for number, arrival in enumerate(arrivals)]
    e2e = summary["overall"]["metrics"]["e2e_latency"]
    skews = [abs(worker["startSkewUs"]) / 1e3 for worker in summary["workers"]]
    return late, e2e["p50"] / 1e3, e2e["p99"] / 1e3, max(skews)


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as folder:
        rows = {workers: offered_by(workers, seconds, folder) for workers in (1, 2, 5)}
    print("workers  arrivals  |arrival - plan| ms: p50    p99    max   e2e ms: p50    p99   start skew ms")
    for workers, (late, p50, p99, skew) in rows.items():
        off = [abs(one) for one in late]
        figures = f"{quantile(off, 0.5):25.2f} {quantile(off, 0.99):6.2f} {max(off):6.2f} {p50:13.2f} {p99:6.2f} {skew:15.2f}"
        print(f"{workers:7} {len(late):9} {figures}")
    seen = {
        "arrival": max(quantile([abs(one) for one in row[0]], 0.99) for row in rows.values()),
        "p50": max(row[1] for row in rows.values()) - min(row[1] for row in rows.values()),
        "p99": max(row[2] for row in rows.values()) - min(row[2] for row in rows.values()),
        "skew": max(row[3] for row in rows.values()),
    }
    for name, aim in AIMS_MS.items():
        print(f"{name}: {seen[name]:.2f} ms, aim {aim} ms{'' if seen[name] <= aim else ': MISSED'}")


if __name__ == "__main__":
    main()
