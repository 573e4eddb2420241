#!/usr/bin/env python3
"""What a coordinator costs: with many workers, with a thousand sessions for a long time, and with twice the load.

  workers   200 worker processes join, offer 100 requests a second for 10 s, and report
  sessions  1,000 sessions ship 17 histograms a second each, for ten minutes (protocol/examples/crowd): CPU, memory,
            and whether memory stays flat
  rates     2 workers offer 2,000 and then 4,000 requests a second of one token: what grows with the load must be the
            workers' work, not the coordinator's

Everything runs on this machine, over loopback, so that CPU seconds and bytes mean something and wall time does not. Each
row is printed as JSON and appended to results/fleet-cost.jsonl.

usage: scripts/long/fleet-cost.py [workers|sessions|rates ...] [--sessions N] [--seconds S] [--workers N] [--rates A,B]
environment: TOKENSTORM, the program (default: target/release/tokenstorm); CROWD, the example (default:
             target/release/examples/crowd, `cargo build --release -p tokenstorm-protocol --example crowd`)
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

PROGRAM = os.environ.get("TOKENSTORM", "target/release/tokenstorm")
CROWD = os.environ.get("CROWD", "target/release/examples/crowd")
ENVIRONMENT = {"PATH": os.environ["PATH"], "TOKENSTORM_COOKIE": "fleet-cost-0123456789abcdef-0123456789abcdef"}
TICKS = os.sysconf("SC_CLK_TCK")
# Of the crowd's members, as in the example.
REQUESTS_OF_A_MEMBER = 20


class Coordinator:
    """A coordinator process, looked at twice a second while it lives."""

    def __init__(self, workers, folder, arguments):
        command = [PROGRAM, "coordinator", "--listen", "127.0.0.1:0", "--expect-workers", str(workers), "--no-probe"]
        command += ["--output", str(folder), "--join-timeout", "300s", *arguments]
        self.folder = pathlib.Path(folder)
        self.started = time.monotonic()
        self.process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.words, self.output, self.looks = [], "", []
        self.begun = None
        self.reader = threading.Thread(target=self.read)
        self.reader.start()
        self.printer = threading.Thread(target=self.take_output)
        self.printer.start()
        self.port = int(self.wait_for("listening on ").rsplit(":", 1)[1])
        self.watcher = threading.Thread(target=self.watch)
        self.watcher.start()

    def read(self):
        for line in self.process.stderr:
            self.words.append(line.rstrip("\n"))
            if "the run begins" in line:
                self.begun = time.monotonic()

    def take_output(self):
        self.output = self.process.stdout.read()

    def wait_for(self, what):
        while True:
            for line in self.words:
                if what in line:
                    return line
            if self.process.poll() is not None:
                sys.exit(f"the coordinator ended: {self.words}")
            time.sleep(0.02)

    def watch(self):
        while self.process.poll() is None:
            try:
                self.looks.append(self.look())
            except (FileNotFoundError, ProcessLookupError, IndexError):
                return
            time.sleep(0.5)

    def look(self):
        """Seconds since its start, CPU seconds, resident and largest resident KiB."""
        folder = pathlib.Path(f"/proc/{self.process.pid}")
        after_name = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        cpu = (int(after_name[11]) + int(after_name[12])) / TICKS
        status = (folder / "status").read_text()
        resident, most = (int(re.search(rf"{name}:\s+(\d+)", status)[1]) for name in ("VmRSS", "VmHWM"))
        return time.monotonic() - self.started, cpu, resident, most

    def bytes_on_its_sockets(self):
        """Received and sent by the connections that are open now."""
        shown = subprocess.run(["ss", "-tinH", f"sport = :{self.port}"], capture_output=True, text=True).stdout
        return [sum(map(int, re.findall(rf"{name}:(\d+)", shown))) for name in ("bytes_received", "bytes_sent")]

    def finished(self):
        code = self.process.wait()
        for thread in (self.reader, self.printer, self.watcher):
            thread.join()
        found = list(self.folder.glob("*/summary.json"))
        if not found:
            sys.exit(f"exit code {code}: {self.words[-5:]}")
        return code, json.loads(found[0].read_text()), (found[0].parent / "journal").stat().st_size

    def cpu_between(self, from_s, to_s):
        """CPU seconds a second between two instants since its start."""
        inside = [look for look in self.looks if from_s <= look[0] <= to_s]
        return (inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0])

    def since_begin(self, seconds):
        return self.begun - self.started + seconds


def simulator():
    process = subprocess.Popen(
        [PROGRAM, "simulate", "--listen", "127.0.0.1:0", "--fixed", "--ttft-ms", "1", "--itl-ms", "0"],
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    line = process.stdout.readline()
    try:
        return process, next(word for word in line.split() if word.startswith("http://")).rstrip(":;,")
    except StopIteration:
        process.kill()
        sys.exit(f"the simulator did not start: {line}")


def workers_of(port, count):
    command = [PROGRAM, "worker", "--coordinator", f"127.0.0.1:{port}", "--processors", "1", "--join-timeout", "300s"]
    # Lanes, control threads and a builder of bodies: the machine has few processors, and they have many workers.
    quiet = {"env": {**ENVIRONMENT, "HOME": tempfile.gettempdir()}, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return [subprocess.Popen(command, **quiet) for _ in range(count)]


def ends(processes):
    ended = [(process.wait(), process.stderr.read()) for process in processes]
    return [words.strip().splitlines()[-1:] for code, words in ended if code != 0]


def load(url, rate, seconds):
    arguments = ["--endpoint", url, "--model", "simulated", "--rate", str(rate), "--duration", str(seconds)]
    return arguments + ["--set", "prompts.inputLength.mean=8", "--set", "prompts.inputLength.stddev=0"]


def facts(summary):
    books = {name: summary["books"][name] for name in ("due", "completed", "failed", "cancelled", "notSent", "lost")}
    verdict = summary["verdict"]
    lost = sum(worker["lost"] is not None for worker in summary["workers"])
    codes = [reason["code"] for reason in verdict["reasons"]]
    return {"books": books, "verdict": verdict["status"], "reasons": codes, "workersLost": lost}


def row_workers(options, folder):
    seconds = 10
    server, url = simulator()
    try:
        leading = Coordinator(options.workers, folder, load(url, 100, seconds) + ["--set", "prompts.outputLength.mean=8"])
        fleet = workers_of(leading.port, options.workers)
        code, summary, journal = leading.finished()
        failures = ends(fleet)
    finally:
        server.kill()
        server.wait()
    return {
        "row": "workers", "workers": options.workers, "exitCode": code, "joinSeconds": round(leading.since_begin(0), 1),
        "cpuSeconds": leading.looks[-1][1], "cpuPerSecondInTheRun": round(leading.cpu_between(leading.since_begin(1), leading.since_begin(seconds)), 3),
        "largestResidentMiB": round(leading.looks[-1][3] / 1024, 1), "journalBytes": journal, "workersThatFailed": failures, **facts(summary),
    }


def row_sessions(options, folder):
    rate = options.sessions * REQUESTS_OF_A_MEMBER
    leading = Coordinator(options.sessions, folder, load("http://127.0.0.1:9/v1", rate, options.seconds))
    crowd = subprocess.Popen([CROWD, str(leading.port), str(options.sessions)], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    leading.wait_for("the run begins")
    time.sleep(options.seconds - 5)
    received, sent = leading.bytes_on_its_sockets()
    code, summary, journal = leading.finished()
    said = crowd.communicate()[0].strip()
    at = lambda share: min(leading.looks, key=lambda look: abs(look[0] - leading.since_begin(share * options.seconds)))
    return {
        "row": "sessions", "sessions": options.sessions, "seconds": options.seconds, "exitCode": code,
        "joinSeconds": round(leading.since_begin(0), 1),
        "cpuPerSecond": round(leading.cpu_between(leading.since_begin(5), leading.since_begin(options.seconds)), 3),
        "residentMiB": {f"{share:.0%}": round(at(share)[2] / 1024, 1) for share in (0.02, 0.1, 0.25, 0.5, 0.75, 0.98)},
        "largestResidentMiB": round(leading.looks[-1][3] / 1024, 1), "journalBytes": journal,
        "bytesReceivedPerSessionSecond": round(received / options.sessions / (options.seconds - 4)),
        "bytesSentPerSessionSecond": round(sent / options.sessions / (options.seconds - 4)),
        "crowd": said, **facts(summary),
    }


def row_rates(options, folder):
    rows = []
    seconds = options.seconds if options.seconds < 600 else 30
    for rate in map(int, options.rates.split(",")):
        server, url = simulator()
        try:
            one_token = ["--set", "prompts.outputLength.mean=1", "--set", "prompts.outputLength.stddev=0"]
            leading = Coordinator(2, pathlib.Path(folder) / str(rate), load(url, rate, seconds) + one_token)
            fleet = workers_of(leading.port, 2)
            leading.wait_for("the run begins")
            time.sleep(seconds - 2)
            received, sent = leading.bytes_on_its_sockets()
            code, summary, journal = leading.finished()
            failures = ends(fleet)
        finally:
            server.kill()
            server.wait()
        achieved = summary["overall"]["rates"]["achieved"]
        rows.append({
            "row": "rates", "rate": rate, "achieved": round(achieved or 0), "exitCode": code,
            "cpuPerSecond": round(leading.cpu_between(leading.since_begin(3), leading.since_begin(seconds)), 4),
            "bytesReceivedPerSecond": round(received / (seconds - 1)), "bytesSentPerSecond": round(sent / (seconds - 1)),
            "journalBytes": journal, "workersThatFailed": failures, **facts(summary),
        })
    first, last = rows[0], rows[-1]
    growth = {name: round(last[name] / first[name] - 1, 3) for name in ("cpuPerSecond", "bytesReceivedPerSecond", "bytesSentPerSecond", "journalBytes")}
    return rows + [{"row": "rates", "growth": growth, "aim": "below 0.2 each"}]


ROWS = {"workers": row_workers, "sessions": row_sessions, "rates": row_rates}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}; none: all")
    parser.add_argument("--sessions", type=int, default=1_000)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--rates", default="2000,4000")
    options = parser.parse_args()
    unknown = [name for name in options.rows if name not in ROWS]
    if unknown:
        parser.error(f"no row is called {unknown[0]}: {', '.join(ROWS)}")
    for name in options.rows or ROWS:
        with tempfile.TemporaryDirectory() as folder:
            made = ROWS[name](options, folder)
        for row in made if isinstance(made, list) else [made]:
            line = json.dumps({**row, "loadAverage": os.getloadavg()[0]})
            print(line, flush=True)
            pathlib.Path("results").mkdir(exist_ok=True)
            with open("results/fleet-cost.jsonl", "a", encoding="utf-8") as lines:
                lines.write(line + "\n")


if __name__ == "__main__":
    main()
