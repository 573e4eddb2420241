#!/usr/bin/env python3
"""Measures what scripts/bench.sh asks for: one JSON line a measurement into DIR/measurements.jsonl.

The simulator runs on core 1; the client, and this script, on core 0. The simulator's truth is reset when the client's warm-up
ends, so that both sides' figures are of the same requests: those due after it. CPU is that between the end of
the warm-up and the end of the stage: of the lane's thread from the result, of the whole process from the kernel.
"""

import argparse
import datetime
import json
import math
import os
import pathlib
import platform
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

CLIENT_CORE, SERVER_CORE = 0, 1
W2_RATES = (20, 100, 500, 1000)
NEIGHBOUR_RATES = (100, 500)
W3_STREAMS = (1000, 2000, 5000)
WIDE_STREAMS = 10_000
# As many as a front of TLS in Python bears.
TLS_STREAMS = 1_000
HEALTHY_RUNS = 20
# Looking at a process costs time on the client's core.
SAMPLE_PERIOD_S = 1
# Events a second that are about half of what a lane carries: 64 of each request.
HALF_RATE = 500


def on_core(core):
    """For a child process: one core, and as many open files as the hard limit allows."""

    def apply():
        os.sched_setaffinity(0, {core})
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    return apply


def in_real_time(pid):
    """Ahead of every ordinary process, where that is permitted: whether it was.

    The client's neighbours and the machine's own services are pushed onto the simulator's core when the client's is
    busy, and what they take of it in pieces of milliseconds would be the simulator's p99. Not for rows that fill its
    core: the kernel stops such a process for a part of each second then.
    """
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setscheduler(int(thread), os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        return False
    return True


def cpu_seconds(pid):
    """CPU time of a process, its ended threads included."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid):
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def open_files(pid):
    """Newer kernels say it as the folder's size; to list 10,000 would disturb what is measured."""
    return os.stat(f"/proc/{pid}/fd").st_size or len(os.listdir(f"/proc/{pid}/fd"))


def kernel_bytes():
    """What the kernel holds for sockets: its slabs (sockets, files, buffers' heads) and the pages of TCP's buffers."""
    slab = re.search(r"^Slab:\s+(\d+) kB", pathlib.Path("/proc/meminfo").read_text(), re.M)
    pages = re.search(r"^TCP: .* mem (\d+)", pathlib.Path("/proc/net/sockstat").read_text(), re.M)
    return int(slab.group(1)) * 1024 + int(pages.group(1)) * resource.getpagesize()


class Simulator:
    """One on the server's core; a context that stops it."""

    def __init__(self, bench, ttft_ms, itl_ms, first=False):
        flags = ["--listen", "127.0.0.1:0", "--fixed", "--ttft-ms", str(ttft_ms), "--itl-ms", str(itl_ms)]
        self.process = subprocess.Popen(
            [bench.tokenstorm, "simulate", *flags],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=on_core(SERVER_CORE),
        )
        line = self.process.stderr.readline()
        found = re.search(r"http://([0-9.]+:\d+)", line)
        if not found:
            sys.exit(f"error: the simulator did not start: {line}")
        self.address = found.group(1)
        self.in_real_time = first and in_real_time(self.process.pid)

    def ask(self, path, method="GET"):
        request = urllib.request.Request(f"http://{self.address}{path}", method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def truth(self):
        return self.ask("/truth")

    def reset(self):
        self.ask("/truth/reset", "POST")

    def cpu(self):
        return cpu_seconds(self.process.pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.process.stderr.close()


class TlsFront:
    """TLS in front of a simulator, on its core; a context that stops it."""

    def __init__(self, simulator, folder):
        certificate, key = f"{folder}/front.pem", f"{folder}/front.key"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
             "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", certificate],
            check=True, stderr=subprocess.DEVNULL)
        front = pathlib.Path(__file__).with_name("tls-front.py")
        self.process = subprocess.Popen(
            [sys.executable, front, simulator.address, certificate, key],
            stdout=subprocess.PIPE, text=True, preexec_fn=on_core(SERVER_CORE))
        self.endpoint = f"https://{self.process.stdout.readline().strip()}"
        self.certificate = certificate

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Watch(threading.Thread):
    """Follows a run from outside: when its load began, its CPU at both ends of the measured stage, its memory."""

    def __init__(self, process, simulator, warmup, duration):
        super().__init__(daemon=True)
        self.process, self.simulator, self.warmup, self.duration = process, simulator, warmup, duration
        self.marked, self.cpu, self.server_cpu, self.memory = [], [], [], []
        self.begun = None

    def run(self):
        try:
            self.follow()
        except (OSError, ProcessLookupError):
            pass  # the run ended early; its result says why

    def follow(self):
        start = self.load_began()
        self.sample_until(start + self.warmup)
        self.mark()
        self.simulator.reset()
        self.sample_until(start + self.warmup + self.duration)
        self.mark()

    def load_began(self):
        """The arrival of the first request, on time.time()'s clock."""
        while True:
            self.sample()
            if self.simulator.truth()["received"] > 0:
                break
            time.sleep(0.02)
        listed = self.simulator.ask("/truth?requests=1")["requests"]
        self.begun = listed[0]["arrivalUnixNs"] / 1e9
        return self.begun

    def mark(self):
        self.marked.append(time.time())
        self.cpu.append(cpu_seconds(self.process.pid))
        self.server_cpu.append(self.simulator.cpu())

    def between_marks(self, seconds):
        """CPU seconds a second in the stage; None where a busy machine let us look too late for that."""
        if len(seconds) < 2 or abs(self.marked[1] - self.marked[0] - self.duration) > 0.01 * self.duration:
            return None
        return (seconds[1] - seconds[0]) / self.duration

    def sample(self):
        since = time.time() - self.begun if self.begun else -1
        pid = self.process.pid
        self.memory.append((round(since, 2), open_files(pid), resident_bytes(pid), kernel_bytes()))

    def sample_until(self, instant):
        while (left := instant - time.time()) > 0:
            time.sleep(min(left, SAMPLE_PERIOD_S))
            if left > SAMPLE_PERIOD_S:
                self.sample()


class Bench:
    def __init__(self, arguments):
        binaries = pathlib.Path(arguments.binaries)
        self.tokenstorm = str(binaries / "tokenstorm")
        self.raw_client = str(binaries / "examples" / "raw_client")
        self.rounds, self.scale = arguments.rounds, arguments.scale
        stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d-%H%M%S")
        self.output = pathlib.Path(arguments.output or f"results/bench-{stamp}")
        self.output.mkdir(parents=True, exist_ok=True)
        self.lines = open(self.output / "measurements.jsonl", "a", encoding="utf-8")

    def times(self, rounds):
        return range(1, (self.rounds or rounds) + 1)

    def seconds(self, full, least=1):
        """A duration, in whole seconds because the result's series is by seconds."""
        return max(least, round(full * self.scale))

    def record(self, row, **figures):
        line = {"row": row, **figures}
        self.lines.write(json.dumps(line) + "\n")
        self.lines.flush()
        shown = {key: value for key, value in line.items() if not isinstance(value, dict)}
        verdict = figures.get("ours", {}).get("verdict")
        print(json.dumps(shown), verdict or "", file=sys.stderr)

    def simulator(self, ttft_ms, itl_ms, first=False):
        return Simulator(self, ttft_ms, itl_ms, first)

    def raw(self, simulator, streams, tokens, warmup, duration):
        flags = ["--streams", streams, "--tokens", tokens, "--warmup", warmup, "--seconds", duration]
        done = subprocess.run(
            [self.raw_client, simulator.address, *map(str, flags)],
            stdout=subprocess.PIPE, check=True, text=True, preexec_fn=on_core(CLIENT_CORE),
        )
        return json.loads(done.stdout)

    def run(self, simulator, tokens, warmup, duration, endpoint=None, **settings):
        """One run of the client; the figures of its measured stage and of the truth of the same requests."""
        settings = {
            "client.lanes": 1, "prompts.inputLength.mean": 16, "prompts.inputLength.stddev": 0,
            "prompts.outputLength.mean": tokens, "prompts.outputLength.stddev": 0,
            "benchmark.warmup": warmup, "benchmark.duration": duration, **settings,
        }
        flags = [flag for key, value in settings.items() for flag in ("--set", f"{key}={value}")]
        simulator.reset()
        with tempfile.TemporaryDirectory() as results, open(self.output / "client.log", "a", encoding="utf-8") as log:
            process = subprocess.Popen(
                [self.tokenstorm, "run", "--endpoint", endpoint or f"http://{simulator.address}", "--model", "simulated",
                 "--no-probe", "--json", "--output", results, *flags],
                stdout=subprocess.PIPE, stderr=log, text=True, preexec_fn=on_core(CLIENT_CORE),
            )
            watch = Watch(process, simulator, warmup, duration)
            watch.start()
            summary = process.communicate()[0]
            watch.join(timeout=10)
            if not summary.strip():
                sys.exit(f"error: the run left no result: see {self.output}/client.log")
            found = next(pathlib.Path(results).glob("*/metrics.json"))
            series = json.loads(found.read_text())["seconds"]
        return figures(json.loads(summary), series, simulator.truth(), watch, warmup, duration)

    # --- the rows --------------------------------------------------------------------------------

    def w1(self):
        """Saturated: pairs of the raw client and ours, the first of a pair by turns."""
        warmup, duration = self.seconds(2), self.seconds(10, 2)
        with self.simulator(0, 0) as simulator:
            for number in self.times(9):
                pair = {}
                for who in ("raw", "ours") if number % 2 else ("ours", "raw"):
                    if who == "raw":
                        pair["raw"] = self.raw(simulator, 64, 64, warmup, duration)
                    else:
                        pair["ours"] = self.run(
                            simulator, 64, warmup, duration, **{"load.concurrency": 64, "load.rampUp": 0.1})
                self.record("w1", round=number, **pair)

    def w2(self):
        for rate in W2_RATES:
            for arrivals in ("even", "poisson"):
                for number in self.times(3):
                    with self.simulator(50, 10, first=True) as simulator:
                        run = self.open_loop(simulator, rate, arrivals)
                    self.record("w2", rate=rate, arrivals=arrivals, round=number,
                                serverInRealTime=simulator.in_real_time, ours=run)

    def open_loop(self, simulator, rate, arrivals="poisson", full=20, warmup=3):
        # Of 20 requests a second, 100 s make the 2,000 that a p99 deserves.
        duration = self.seconds(max(full, 2000 / rate), 2)
        return self.run(simulator, 64, self.seconds(warmup), duration,
                        **{"load.rate": rate, "load.arrivals": arrivals})

    def neighbour(self):
        """A thread that spins on the client's core."""
        for rate in NEIGHBOUR_RATES:
            for number in self.times(3):
                spinner = subprocess.Popen(
                    [sys.executable, "-c", "while True: pass"], preexec_fn=on_core(CLIENT_CORE))
                try:
                    with self.simulator(50, 10, first=True) as simulator:
                        run = self.open_loop(simulator, rate)
                finally:
                    spinner.kill()
                    spinner.wait()
                self.record("neighbour", rate=rate, round=number,
                            serverInRealTime=simulator.in_real_time, ours=run)

    def healthy(self):
        with self.simulator(50, 10) as simulator:
            for number in range(1, HEALTHY_RUNS + 1):
                run = self.run(simulator, 64, 1, self.seconds(10, 2),
                               **{"load.rate": 100, "load.arrivals": "poisson"})
                self.record("healthy", round=number, ours=run)

    def w3(self):
        for streams in W3_STREAMS:
            for number in self.times(3):
                self.streams("w3", streams, 50, number)

    def wide(self):
        for number in self.times(1):
            self.streams("wide", WIDE_STREAMS, 200, number)

    def streams(self, row, streams, itl_ms, number):
        """A closed loop whose starts are spread over one request's time, and measured after that."""
        # A try-out must be shorter in this as well, or no request would begin in its measured stage.
        tokens = max(20, round(200 * min(1, self.scale)))
        request_s = (100 + itl_ms * (tokens - 1)) / 1000
        ramp_up = out_of_step(streams, itl_ms / 1000, request_s)
        spread = max(1, math.ceil(max(ramp_up, request_s)))
        with self.simulator(100, itl_ms) as simulator:
            # The drain is as long as a request: one that is cut off would take the percentiles with it.
            run = self.run(simulator, tokens, spread + 1, max(self.seconds(20, 2), spread),
                           **{"load.concurrency": streams, "load.rampUp": ramp_up,
                              "benchmark.drain": max(30, 2 * spread)})
        self.record(row, streams=streams, itlMs=itl_ms, tokens=tokens, round=number, ours=run)

    def memory(self):
        """Resident memory while so many streams are open, less that before the first of them."""
        for number in self.times(3):
            with self.simulator(100, 200) as simulator:
                run = self.run(
                    simulator, 2000, self.seconds(15, 5), self.seconds(15, 5),
                    **{"load.concurrency": WIDE_STREAMS, "load.rampUp": self.seconds(10, 4), "benchmark.drain": 0})
            self.record_memory("memory", WIDE_STREAMS, number, run)

    def memory_tls(self):
        """The same under TLS, with fewer streams and events, as the front can bear."""
        for number in self.times(3):
            with (self.simulator(100, 500) as simulator, tempfile.TemporaryDirectory() as folder,
                  TlsFront(simulator, folder) as front):
                run = self.run(
                    simulator, 2000, self.seconds(15, 5), self.seconds(15, 5), endpoint=front.endpoint,
                    **{"load.concurrency": TLS_STREAMS, "load.rampUp": self.seconds(10, 4), "benchmark.drain": 0,
                       "target.caFile": front.certificate})
            self.record_memory("memory_tls", TLS_STREAMS, number, run)

    def record_memory(self, row, streams, number, run):
        run["bytesPerStream"] = growth_per_stream(run["memory"], streams, 2)
        # Both ends of each stream are on this machine.
        run["kernelBytesPerStream"] = growth_per_stream(run["memory"], streams, 3)
        self.record(row, streams=streams, round=number, ours=run)

    def long(self):
        with self.simulator(50, 10) as simulator:
            run = self.open_loop(simulator, HALF_RATE, full=600, warmup=10)
        self.record("long", rate=HALF_RATE, ours=run)

    def help(self):
        spans = []
        for _ in range(30):
            start = time.perf_counter()
            subprocess.run([self.tokenstorm, "--help"], stdout=subprocess.DEVNULL, check=True)
            spans.append(time.perf_counter() - start)
        self.record("help", medianMs=statistics.median(spans) * 1e3, maxMs=max(spans) * 1e3,
                    binaryBytes=os.path.getsize(self.tokenstorm))


def out_of_step(streams, itl_s, request_s):
    """A ramp-up of at most one request's time that spreads the streams' tokens evenly over the ITL.

    Starts a round fraction of the ITL apart put the tokens of many streams on the same instants, which one
    thread writes one after the other. The golden section is as far from every such fraction as can be.
    """
    apart = itl_s * (math.sqrt(5) - 1) / 2
    while apart * streams > request_s:
        apart /= 2
    return round(apart * streams, 6)


def figures(summary, series, truth, watch, warmup, duration):
    """What the tables need of one run."""
    # Only points that lie in the stage with all of their seconds: a wider one may reach into the drain.
    measured = [point for point in series
                if warmup <= point["second"] and point["second"] + point["seconds"] <= warmup + duration]
    covered = sum(point["seconds"] for point in measured) or math.nan
    counts = {key: sum(point["counts"][key] for point in measured) for key in ("outputTokens", "completed")}
    lane_seconds = sum(point["counts"]["laneCpuPermilleMax"] / 1000 * point["seconds"] for point in measured)
    overall = summary["overall"]
    process, server = watch.between_marks(watch.cpu), watch.between_marks(watch.server_cpu)
    events = counts["outputTokens"] / covered

    def per_event(share):
        """Microseconds for each event, of CPU seconds in a second."""
        return share * 1e6 / events if events and share is not None else None

    return {
        "verdict": summary["verdict"]["status"],
        "reasons": summary["verdict"]["reasons"],
        "books": {key: summary["books"][key] for key in ("due", "completed", "failed", "cancelled", "notSent", "lost")},
        "offered": overall["rates"]["offered"],
        "achieved": overall["rates"]["achieved"],
        "coveredSeconds": covered,
        "eventsPerSecond": events,
        "requestsPerSecond": counts["completed"] / covered,
        "laneCpuUsPerEvent": per_event(lane_seconds / covered),
        "processCpuUsPerEvent": per_event(process),
        "serverCpuUsPerEvent": per_event(server),
        "laneCpuShare": lane_seconds / covered,
        "ttftUs": picked(overall["metrics"].get("ttft")),
        "iclUs": picked(overall["metrics"].get("icl")),
        "truthTtftUs": picked(truth["ttftUs"]),
        "truthIclUs": picked(truth["iclUs"]),
        "pacingLagP99Us": truth["pacingLagUs"]["p99"],
        "serverLoopLagP99Us": truth["loopLagUs"]["p99"],
        "generatorLagP99Us": (overall["metrics"].get("generator_lag") or {}).get("p99"),
        "memory": watch.memory,
        "minutes": minutes(measured, watch.memory),
    }


def picked(spread):
    return {key: (spread or {}).get(key) for key in ("count", "mean", "p50", "p99")}


def minutes(points, memory):
    """By minute: the median of the seconds' p99 of generator_lag, and the largest memory."""
    found = []
    for minute in sorted({point["second"] // 60 for point in points}):
        # A second with few requests has no p99.
        lags = [lag["p99"] for point in points if point["second"] // 60 == minute
                and (lag := point["metrics"].get("generator_lag")) and lag["p99"] is not None]
        held = [sample[2] for sample in memory if sample[0] // 60 == minute]
        found.append({"minute": minute, "generatorLagP99Us": statistics.median(lags) if lags else None,
                      "residentBytes": max(held, default=None)})
    return found


def growth_per_stream(memory, streams, column):
    """Before: the last sample with few open files. Plateau: the median of those with all streams open."""
    before = [sample[column] for sample in memory if sample[1] < 20 + streams / 100]
    plateau = [sample[column] for sample in memory if sample[1] >= streams]
    return (statistics.median(plateau) - before[-1]) / streams if before and plateau else None


def machine(bench):
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    version = subprocess.run([bench.tokenstorm, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    rustc = subprocess.run(["rustc", "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return {"cpu": cpu.group(1) if cpu else platform.machine(), "cores": os.cpu_count(),
            "kernel": platform.release(), "version": version.strip(), "rustc": rustc.strip(),
            "at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")}


ROWS = ("w1", "w2", "neighbour", "healthy", "w3", "wide", "memory", "memory_tls", "long", "help")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binaries", required=True)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--output")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.rows) - set(ROWS))
    if unknown:
        parser.error(f"no row {', '.join(unknown)}: there are {', '.join(ROWS)}")
    if (os.cpu_count() or 1) < 2:
        sys.exit("error: two cores are needed: one for the client, one for the simulator")
    open_files_needed = WIDE_STREAMS + 200
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < open_files_needed:
        sys.exit(f"error: {WIDE_STREAMS} streams need a hard limit of {open_files_needed} open files (`ulimit -Hn`)")
    # What it takes itself must not make the simulator late: the client's stamps are the kernel's, and bear it.
    os.sched_setaffinity(0, {CLIENT_CORE})
    bench = Bench(arguments)
    bench.record("machine", **machine(bench))
    for row in arguments.rows or ROWS:
        getattr(bench, row)()
    summarize = pathlib.Path(__file__).with_name("bench-summary.py")
    subprocess.run([sys.executable, summarize, bench.output], check=True)


if __name__ == "__main__":
    main()
