#!/usr/bin/env python3
"""What everything on costs a lane: its own instructions per token with it and without, counted by callgrind.

    everything-on.py [--rate R] [--seconds S] [--pairs N] [--most PERCENT] [--binary FILE] [--keep DIR]

Each run is a coordinator and one worker with one lane, the worker under callgrind, against a simulator: TTFT 50 ms, ITL
10 ms, 64 tokens, Poisson arrivals of one seed. (`tokenstorm run` is the same in one process; with its coordinator under
callgrind too, which lets one thread run at a time, leases and registration are late.) "On" is records of all requests,
OpenTelemetry from both to a collector every second with 1 % of the requests sampled, `traceparent` sent, the simulator's
/metrics read and the coordinator's own scraped every second. What the kernel does for the lane is not counted.

Compared is what the requests' tasks run: their bodies, sockets, events, histograms and records, which is where all that
is on has its part. The rest of the lane's thread (the runtime, a timer every 10 ms) is shown beside it: at this rate,
which callgrind bears, it is as much again with the flush of each second, and at 500 requests a second little of it is left.

A run counts only if every request was answered, and one that is on only if the records are complete, spans and metrics
were taken and each request came with a `traceparent`. The two kinds are comparable only if the thread waited about as
often for each token: on a busy machine several are read at once, and that saves more than what is on costs.

Fails where the means are more than --most apart (2 %).
"""

import argparse
import contextlib
import http.server
import json
import pathlib
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter

TOKENS = 64
# The client's own code: by it the lane's thread is known.
CLIENT = "crates/client/src/"
# A request's task, from its body to its record.
TASK = "worker::request::request::{{closure}}"
WAIT = "epoll_wait"
# By how much waits a token may differ: a twentieth of a wait is 1 % of a token.
ALIKE = 0.03


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=4, help="requests a second (4)")
    parser.add_argument("--seconds", type=int, default=40, help="of load in each run (40)")
    parser.add_argument("--pairs", type=int, default=2, help="runs of each kind (2)")
    parser.add_argument("--most", type=float, default=2.0, help="per cent that on may cost (2)")
    parser.add_argument("--binary", default="target/profiling/tokenstorm", help="with its line tables")
    parser.add_argument("--keep", help="where callgrind's files stay; else they are removed")
    return parser.parse_args()


class Collector(http.server.ThreadingHTTPServer):
    """Takes whatever OTLP it is told and counts the messages."""

    daemon_threads = True

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.server.taken[self.path] += 1
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.taken = Counter()
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Scraper(threading.Thread):
    """Reads what the program says on its stderr, and from there on its /metrics every second."""

    def __init__(self, process: subprocess.Popen):
        super().__init__(daemon=True)
        self.process, self.said, self.scraped = process, [], 0

    def run(self):
        page = None
        for line in self.process.stderr:
            self.said.append(line)
            found = re.match(r"live: (http://\S+)/", line)
            if page is None and found:
                page = found.group(1) + "/metrics"
                threading.Thread(target=self.scrape, args=(page,), daemon=True).start()

    def scrape(self, page: str):
        while self.process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(page, timeout=5) as answer:
                self.scraped += answer.status == 200
            time.sleep(1)


@contextlib.contextmanager
def collecting():
    collector = Collector()
    try:
        yield collector
    finally:
        collector.shutdown()
        collector.server_close()


@contextlib.contextmanager
def simulator(binary: str):
    """Its address; in a process of its own, which callgrind does not slow down."""
    command = [binary, "simulate", "--listen", "127.0.0.1:0", "--fixed", "--ttft-ms", "50", "--itl-ms", "10"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        found = re.search(r"http://[0-9.]+:\d+", process.stderr.readline())
        if not found:
            sys.exit("the simulator did not start")
        yield found.group(0)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        process.stderr.close()


def ask(url: str, method: str = "GET"):
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=60) as answer:
        return json.loads(answer.read() or b"null")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def flags(options, service: str, collector: str | None) -> list:
    """Of the coordinator; with a collector everything is on."""
    settings = {
        "client.lanes": 1, "prompts.inputLength.mean": 16, "prompts.inputLength.stddev": 0,
        "prompts.outputLength.mean": TOKENS, "prompts.outputLength.stddev": 0,
        "load.rate": options.rate, "load.arrivals": "poisson", "benchmark.duration": options.seconds,
    }
    words = ["--endpoint", service, "--model", "simulated", "--no-probe", "--json", "--expect-workers", "1"]
    if collector:
        settings |= {"records": "all", "telemetry.traceContext": "true",
                     "telemetry.interval": 1, "metrics.scrape": "[target]"}
        words += ["--otlp", collector, "--http", "127.0.0.1:0"]
    return words + [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


@contextlib.contextmanager
def ended(process: subprocess.Popen):
    """Whatever happens, it does not outlive this."""
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def counted(options, service: str, is_on: bool, folder: pathlib.Path) -> dict:
    """One run whose worker is under callgrind: what the lane's thread ran."""
    folder.mkdir(parents=True)
    ask(f"{service}/truth/reset", "POST")
    address = f"127.0.0.1:{free_port()}"
    with collecting() as collector:
        otlp = collector.url if is_on else None
        lead = [options.binary, "coordinator", "--listen", address, "--output", str(folder / "results")]
        work = ["valgrind", "--quiet", "--tool=callgrind", "--separate-threads=yes", "--fair-sched=try",
                f"--callgrind-out-file={folder}/thread", options.binary, "worker", "--coordinator", address,
                "--cache", str(folder / "cache"), *(["--otlp", otlp] if otlp else [])]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        leading = subprocess.Popen(lead + flags(options, service, otlp), **pipes)
        with (open(folder / "worker.log", "w", encoding="utf-8") as log, ended(leading),
              ended(subprocess.Popen(work, stdout=log, stderr=log)) as working):
            scraper = Scraper(leading)
            scraper.start()
            summary = leading.stdout.read()
            scraper.join()
            working.wait(timeout=120)
    if not summary.strip():
        sys.exit(f"no result:\n{''.join(scraper.said)}{(folder / 'worker.log').read_text(encoding='utf-8')}")
    summary = json.loads(summary)
    complaints = list(missing(summary, service, is_on, collector, scraper))
    return {"tokens": summary["books"]["completed"] * TOKENS, "complaints": complaints, **lane(folder)}


def missing(summary: dict, service: str, is_on: bool, collector: Collector, scraper: Scraper):
    """Why the run does not count."""
    books = summary["books"]
    if books["completed"] != books["due"] or not books["due"]:
        yield f"{books['completed']} of {books['due']} requests were answered"
    if not is_on:
        return
    if not (summary["records"] or {}).get("complete"):
        yield "the records are not complete"
    spans = (summary["telemetry"] or {}).get("spans", {})
    if not spans.get("sent") or spans.get("lost") or not collector.taken["/v1/metrics"]:
        yield f"the collector was told {spans} and {dict(collector.taken)}"
    if not scraper.scraped:
        yield "/metrics was never scraped"
    asked = ask(f"{service}/truth?requests=1")["requests"]
    named = sum("traceparent" in json.dumps(request) for request in asked)
    if named < len(asked):
        yield f"{named} of {len(asked)} requests had a traceparent"


def lane(folder: pathlib.Path) -> dict:
    """Of callgrind's files, one a thread, the one in which the client's own code ran most."""
    return max((thread(path) for path in folder.glob("thread-*")), key=lambda found: found["client"])


def thread(path: pathlib.Path) -> dict:
    """A thread's own instructions, by function, and how often it waited (callgrind's format, version 1)."""
    names, costs, found = {}, Counter(), Counter()
    place = {"fl": "", "fn": "", "cfn": ""}
    calls = 0

    def named(kind: str, text: str) -> str:
        number, _, name = text.partition(" ")
        if name:
            names[kind, number] = name
        return names.get((kind, number), number)

    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            line = line.rstrip("\n")
            key, is_set, text = line.partition("=")
            if is_set and key in ("fl", "fi", "fe"):
                place["fl"] = named("file", text)
            elif is_set and key in ("cfi", "cfl"):
                named("file", text)
            elif is_set and key in ("fn", "cfn"):
                place[key] = named("function", text)
            elif is_set and key == "calls":
                calls = int(text.split()[0])
                found["waits"] += calls if WAIT in place["cfn"] else 0
            elif line[:1] in "+-*0123456789" and line:
                cost = int((line.split() + ["0"])[1])
                # The line after a call has what the called one ran, which is counted there.
                if calls:
                    found["task"] += cost if place["cfn"] == TASK else 0
                    calls = 0
                    continue
                found["all"] += cost
                found["client"] += cost if CLIENT in place["fl"] else 0
                costs[place["fn"]] += cost
    return {**{key: found[key] for key in ("all", "client", "task", "waits")}, "functions": costs, "file": str(path)}


def waits(runs: list) -> float:
    """How often the thread waited, for each token."""
    return statistics.mean(run["waits"] / run["tokens"] for run in runs)


def told(name: str, runs: list) -> float:
    """Instructions a token in the requests' tasks: the mean of the runs, and what else is worth knowing of them."""
    tasks = [run["task"] / run["tokens"] for run in runs]
    mean = statistics.mean(tasks)
    thread_s = statistics.mean(run["all"] / run["tokens"] for run in runs)
    print(f"{name}: {mean:,.0f} instructions a token in the requests' tasks ({min(tasks):,.0f} to {max(tasks):,.0f}), "
          f"{thread_s:,.0f} in the whole thread, {waits(runs):.2f} waits; {runs[0]['tokens']:,} tokens a run")
    return mean


def differences(off: list, on: list) -> None:
    """What the difference consists of, function by function."""

    def a_token(runs: list) -> Counter:
        mean = Counter()
        for run in runs:
            for name, cost in run["functions"].items():
                mean[name] += cost / run["tokens"] / len(runs)
        return mean

    without, with_it = a_token(off), a_token(on)
    apart = {name: with_it[name] - without[name] for name in {*without, *with_it}}
    for name, cost in sorted(apart.items(), key=lambda item: -abs(item[1]))[:20]:
        print(f"  {cost:+8.1f}  {name[:150]}")


def main() -> int:
    options = arguments()
    found = {False: [], True: []}
    with tempfile.TemporaryDirectory(prefix="tokenstorm-lane-") as scratch, simulator(options.binary) as service:
        folder = pathlib.Path(options.keep or scratch)
        for number in range(options.pairs):
            for is_on in (False, True):
                run = counted(options, service, is_on, folder / f"{'on' if is_on else 'off'}-{number}")
                found[is_on].append(run)
                print(f"{'on' if is_on else 'off'}: {run['task']:,} instructions in the requests' tasks, "
                      f"{run['all']:,} in the thread", *run["complaints"], sep="; ")
                if not run["task"]:
                    sys.exit(f"callgrind counted nothing: was {TASK} renamed?")
    complaints = sum(len(run["complaints"]) for runs in found.values() for run in runs)
    if complaints:
        print(f"0 passed, {complaints} failed")
        return 1
    off, on = told("off", found[False]), told("on", found[True])
    print("instructions a token more with everything on, by function:")
    differences(found[False], found[True])
    more = (on / off - 1) * 100
    unlike = waits(found[True]) / waits(found[False]) - 1
    if abs(unlike) > ALIKE:
        print(f"not comparable: {unlike:+.1%} waits a token with everything on; something else runs on this machine")
        print("0 passed, 1 failed")
        return 1
    is_good = more <= options.most
    print(f"on to off: {more:+.2f} % (at most {options.most:g} %)")
    print("1 passed, 0 failed" if is_good else "0 passed, 1 failed")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
