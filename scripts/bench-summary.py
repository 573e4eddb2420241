#!/usr/bin/env python3
"""Prints medians and spreads of what scripts/bench.sh recorded: WORK ROUNDS."""

import json
import pathlib
import statistics
import sys


def summary(path):
    """The first JSON object of a run's standard output; None if the run left none."""
    text = path.read_text()
    start = text.find("{")
    return json.JSONDecoder().raw_decode(text[start:])[0] if start >= 0 else None


def events(result):
    """Content events of the whole run: the first one of each answer, and one after each gap."""
    stages = result["stages"]
    return sum(s["notes"]["gaps"] + s["metrics"]["ttft"]["count"] for s in stages)


def row(name, values, unit, digits=2):
    if not values:
        print(f"| {name} | no round counted | | |")
        return
    low, middle, high = min(values), statistics.median(values), max(values)
    print(f"| {name} | {middle:.{digits}f} {unit} | {low:.{digits}f} to {high:.{digits}f} | {len(values)} |")


def main():
    work, rounds = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    per_event, rates, per_stream, verdicts = [], [], [], []
    for number in range(1, rounds + 1):
        saturated = summary(work / f"saturated-{number}.json")
        if saturated:
            cpu = sum(worker["cpuSeconds"] for worker in saturated["workers"])
            per_event.append(cpu * 1e6 / events(saturated))
            rates.append(saturated["overall"]["rates"]["tokensPerSecond"])
            verdicts.append(saturated["verdict"]["status"])
        before, plateau = map(int, (work / f"memory-{number}").read_text().split())
        if plateau > before > 0:
            per_stream.append((plateau - before) / 1000)
    print("| what | median | spread | rounds |")
    print("| --- | --- | --- | --- |")
    row("CPU of the lane per event, saturated, 64 streams", per_event, "µs")
    row("events a second on that core", rates, "/s", 0)
    row("memory per stream at 1,000 streams", per_stream, "KiB", 1)
    print(f"\nverdicts of the saturated rounds: {', '.join(verdicts) or 'none'}")


if __name__ == "__main__":
    main()
