#!/usr/bin/env python3
"""The tables of docs/benchmarks.md from what scripts/bench.sh recorded: DIRECTORY [PAGE].

Prints them; with a page, puts them between its lines "figures: begin" and "figures: end" instead.
"""

import contextlib
import io
import json
import pathlib
import statistics
import sys
from collections import defaultdict

# A comparison counts only while the simulator kept its own pace.
SERVER_LAG_LIMIT_US = 500


def shown(values, unit="", digits=2):
    """Median, and the spread where there is one."""
    known = [value for value in values if value is not None]
    if not known:
        return "none"
    text = f"{statistics.median(known):.{digits}f}{unit}"
    if len(known) > 1:
        text += f" ({min(known):.{digits}f} to {max(known):.{digits}f})"
    return text


def table(title, heads, rows):
    if not rows:
        return
    print(f"\n### {title}\n")
    print("| " + " | ".join(heads) + " |")
    print("| " + " | ".join("---" for _ in heads) + " |")
    for row in rows:
        print("| " + " | ".join(row) + " |")


def off_ms(run, metric, figure):
    """Ours less the truth's, in milliseconds."""
    ours, truth = run[f"{metric}Us"][figure], run[f"truth{metric.capitalize()}Us"][figure]
    return None if ours is None or truth is None else (ours - truth) / 1e3


def verdicts(runs):
    counted = defaultdict(int)
    for run in runs:
        codes = sorted({reason["code"] for reason in run["reasons"]})
        counted[run["verdict"] + (f" ({', '.join(codes)})" if codes else "")] += 1
    return ", ".join(f"{count} × {name}" for name, count in sorted(counted.items()))


def truth_row(name, runs):
    """Against the truth; rounds in which the server itself was late are shown as such and not compared."""
    lags = [run["pacingLagP99Us"] and run["pacingLagP99Us"] / 1e3 for run in runs]
    counting = [run for run in runs if (run["pacingLagP99Us"] or SERVER_LAG_LIMIT_US) < SERVER_LAG_LIMIT_US]
    rounds = f"{len(counting)} of {len(runs)}"
    if not counting:
        rate = statistics.median(run["eventsPerSecond"] for run in runs)
        runs_shown, note = runs, f"server-bound at {rate:,.0f} events/s"
    else:
        runs_shown, note = counting, f"{statistics.median(run['eventsPerSecond'] for run in counting):,.0f} events/s"
    achieved = [100 * run["achieved"] / run["offered"] for run in runs_shown if run["offered"]]
    return [
        name, note, rounds,
        shown([off_ms(run, "ttft", "p99") for run in runs_shown], digits=3),
        shown([off_ms(run, "ttft", "mean") for run in runs_shown], digits=3),
        shown([off_ms(run, "icl", "p99") for run in runs_shown], digits=3),
        shown(achieved, " %") if achieved else "closed loop",
        shown([run["laneCpuUsPerEvent"] for run in runs_shown], " µs", 1),
        shown([100 * run["laneCpuShare"] for run in runs_shown], " %", 0),
        shown([run["generatorLagP99Us"] and run["generatorLagP99Us"] / 1e3 for run in runs_shown]),
        shown(lags, digits=2),
        verdicts(runs),
    ]


TRUTH_HEADS = [
    "load", "carried", "rounds that count", "TTFT p99, off by ms", "TTFT mean, off by ms", "ICL p99, off by ms",
    "achieved of offered", "CPU of the lane per event", "share of its core that the lane used", "generator_lag p99, ms",
    "server's own lag p99, ms", "verdicts",
]


def grouped(lines, row, keys):
    groups = defaultdict(list)
    for line in lines:
        if line["row"] == row:
            groups[tuple(line.get(key) for key in keys)].append(line["ours"])
    return groups


def saturated(lines):
    pairs = [line for line in lines if line["row"] == "w1"]
    if not pairs:
        return
    ours, raw = [line["ours"] for line in pairs], [line["raw"] for line in pairs]

    def ratios(own, theirs):
        both = ((line["ours"].get(own), line["raw"].get(theirs)) for line in pairs)
        return [mine / other for mine, other in both if mine and other]

    rows = [
        ["CPU of the lane per event", shown([run["laneCpuUsPerEvent"] for run in ours], " µs")],
        ["CPU of the raw client per event", shown([run["cpuUsPerEvent"] for run in raw], " µs")],
        ["ratio, lane to raw client", shown(ratios("laneCpuUsPerEvent", "cpuUsPerEvent"))],
        ["ratio, whole process to raw client", shown(ratios("processCpuUsPerEvent", "cpuUsPerEvent"))],
        ["requests a second", shown([run["requestsPerSecond"] for run in ours], digits=0)],
        ["requests a second of the raw client", shown([run["requestsPerSecond"] for run in raw], digits=0)],
        ["ratio", shown(ratios("requestsPerSecond", "requestsPerSecond"))],
        ["CPU of the simulator per event", shown([run["serverCpuUsPerEvent"] for run in ours], " µs")],
        # Where this is well under 100 %, the simulator was the slower side and the rate is a lower bound.
        ["share of its core that the lane used", shown([100 * run["laneCpuShare"] for run in ours], " %", 0)],
        ["share that the raw client used",
         shown([100 * (run["userSeconds"] + run["systemSeconds"]) / run["wallSeconds"] for run in raw], " %", 0)],
        ["verdicts", verdicts(ours)],
    ]
    table(f"Saturated: closed loop, 64 streams, 64 tokens, no delays ({len(pairs)} pairs)",
          ["what", "median (spread)"], rows)


def against_the_truth(lines):
    rows = []
    for (rate, arrivals), runs in sorted(grouped(lines, "w2", ["rate", "arrivals"]).items()):
        rows.append(truth_row(f"{rate} req/s, {arrivals}", runs))
    for (rate,), runs in grouped(lines, "neighbour", ["rate"]).items():
        rows.append(truth_row(f"{rate} req/s, poisson, a spinning neighbour", runs))
    table("Open loop: TTFT 50 ms, ITL 10 ms, 64 tokens", TRUTH_HEADS, rows)
    rows = []
    for row in ("w3", "wide"):
        for (streams, itl_ms, tokens), runs in grouped(lines, row, ["streams", "itlMs", "tokens"]).items():
            rows.append(truth_row(f"{streams:,} streams, ITL {itl_ms} ms, {tokens} tokens", runs))
    table("Closed loop: TTFT 100 ms", TRUTH_HEADS, rows)


def flat(lines):
    for line in lines:
        if line["row"] != "long":
            continue
        whole = [minute for minute in line["ours"]["minutes"] if minute["residentBytes"]]
        rows = [[str(minute["minute"]), f"{minute['residentBytes'] / 1e6:.1f} MB",
                 f"{(minute['generatorLagP99Us'] or 0) / 1e3:.3f} ms"] for minute in whole]
        table(f"Half of capacity: {line['rate']} req/s, {line['ours']['eventsPerSecond']:,.0f} events/s, "
              f"{verdicts([line['ours']])}",
              ["minute", "resident memory, most", "generator_lag p99 (median of the seconds')"], rows)


def rest(lines):
    rows = []
    healthy = [line["ours"] for line in lines if line["row"] == "healthy"]
    if healthy:
        rows.append([f"{len(healthy)} runs at 100 req/s in a row", verdicts(healthy)])
    for row, how in (("memory", "plain HTTP"), ("memory_tls", "TLS")):
        for (streams,), runs in grouped(lines, row, ["streams"]).items():
            def kilobytes(key):
                return shown([run[key] and run[key] / 1e3 for run in runs], " KB", 1)

            rows.append([f"memory of the process per stream at {streams:,} streams, {how}", kilobytes("bytesPerStream")])
            if row == "memory":
                rows.append(["the kernel's per stream, both ends of it", kilobytes("kernelBytesPerStream")])
    for line in lines:
        if line["row"] == "help":
            rows.append(["`tokenstorm --help`", f"{line['medianMs']:.1f} ms (at most {line['maxMs']:.1f})"])
            rows.append(["the binary, stripped", f"{line['binaryBytes'] / 1e6:.1f} MB"])
    table("The rest", ["what", "figure"], rows)


def tables(lines):
    for line in lines:
        if line["row"] == "machine":
            print(f"**Machine:** {line['cpu']}, {line['cores']} cores, Linux {line['kernel']}; "
                  f"{line['version']}, {line['rustc']}, {line['at']}.")
    saturated(lines)
    against_the_truth(lines)
    flat(lines)
    rest(lines)


def put_into(page, text):
    head, begin, after = page.read_text(encoding="utf-8").partition("<!-- figures: begin -->\n")
    _, end, foot = after.partition("<!-- figures: end -->")
    if not begin or not end:
        sys.exit(f"error: {page} has no place for figures")
    page.write_text(f"{head}{begin}{text.strip()}\n{end}{foot}", encoding="utf-8")


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    path = pathlib.Path(sys.argv[1]) / "measurements.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if len(sys.argv) == 2:
        return tables(lines)
    with contextlib.redirect_stdout(io.StringIO()) as text:
        tables(lines)
    return put_into(pathlib.Path(sys.argv[2]), text.getvalue())


if __name__ == "__main__":
    main()
