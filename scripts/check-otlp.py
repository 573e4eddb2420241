#!/usr/bin/env python3
"""A run told to a collector that is not ours, and what the collector understood.

Starts rotel's agent (an OpenTelemetry collector) on loopback, runs the benchmark of CONFIG against its simulator with `--otlp`, and
reads what the agent printed of each span and data point: the run's trace, a request's span and the server's span
below it, joined by their ids, and the histograms against `summary.json`.

    check-otlp.py TOKENSTORM CONFIG

Needs PyPI's `rotel`. Exit code 3 where it is missing, 1 where something is not as it should be.
"""

import json
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

MISSING = 3


def agent() -> str | None:
    try:
        import rotel
    except ImportError:
        return shutil.which("rotel-agent")
    bundled = pathlib.Path(rotel.__file__).parent / "rotel-agent"
    return str(bundled) if bundled.exists() else shutil.which("rotel-agent")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    sys.exit("the collector does not listen")


def blocks(text: str, head: str) -> list:
    """What the agent prints of each span or metric, from its first line to the next one's."""
    return [head + part for part in text.split(head)[1:]]


def field(block: str, name: str) -> str:
    found = re.search(rf"^\s*{name}\s*: ?(.*)$", block, re.MULTILINE)
    return found.group(1).strip() if found else ""


def spans(text: str) -> list:
    return [
        {
            "name": field(block, "Name"),
            "trace": field(block, "Trace ID"),
            "id": field(block, "ID"),
            "parent": field(block, "Parent ID"),
            "kind": field(block, "Kind"),
            "text": block,
        }
        for block in blocks(text, "Span #")
    ]


def histogram_counts(text: str) -> dict:
    """The last count that was told of each histogram."""
    counts = {}
    for block in blocks(text, "Metric #"):
        found = re.findall(r"^Count: (\d+)$", block, re.MULTILINE)
        if found:
            counts[field(block, "-> Name")] = int(found[-1])
    return counts


def run(tokenstorm: str, config: str, folder: pathlib.Path, port: int) -> dict:
    endpoint = f"http://127.0.0.1:{port}"
    command = [tokenstorm, "run", "--config", config, "--otlp", endpoint, "--output", str(folder), "--json"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if ended.returncode not in (0, 4):
        sys.exit(f"the run ended with {ended.returncode}:\n{ended.stderr}")
    return json.loads(ended.stdout)


def problems(summary: dict, text: str) -> list:
    found = []

    def expect(truth: bool, line: str) -> None:
        if not truth:
            found.append(line)

    told = summary["telemetry"]
    expect(told["problems"] == [], f"the result says: {told['problems']}")
    all_spans = spans(text)
    expect(len(all_spans) >= told["spans"]["sent"], f"{len(all_spans)} spans were printed, {told['spans']['sent']} told")
    of_run = [span for span in all_spans if span["trace"] == told["traceId"]]
    expect(any(span["name"].startswith("run ") for span in of_run), "the run has no span")
    stages = [span for span in of_run if span["name"].startswith("stage ")]
    expect(len(stages) == len(summary["stages"]), f"{len(stages)} stages have a span")
    clients = {span["id"]: span for span in all_spans if span["kind"] == "SPAN_KIND_CLIENT"}
    servers = [span for span in all_spans if span["kind"] == "SPAN_KIND_SERVER"]
    joined = [span for span in servers if span["parent"] in clients and clients[span["parent"]]["trace"] == span["trace"]]
    expect(len(clients) > 0, "no request has a span")
    expect(len(joined) == len(servers) > 0, f"{len(joined)} of {len(servers)} spans of the server lie below one of ours")
    counts = histogram_counts(text)
    completed = summary["books"]["completed"]
    for name in ("gen_ai.client.operation.duration", "gen_ai.server.time_to_first_token"):
        expect(counts.get(name) == completed, f"{name} has {counts.get(name)} samples of {completed} completed requests")
    print(f"{len(all_spans)} spans, of them {len(clients)} requests and {len(joined)} of the server below one; histograms: {sorted(counts)}")
    return found


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__)
        return 2
    program = agent()
    if program is None:
        print("PyPI's rotel is not installed: not checked")
        return MISSING
    http, grpc = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        log = pathlib.Path(folder) / "collector.log"
        with log.open("w") as out:
            arguments = ["start", "--otlp-http-endpoint", f"127.0.0.1:{http}", "--otlp-grpc-endpoint", f"127.0.0.1:{grpc}"]
            arguments += ["--exporter", "blackhole", "--debug-log", "traces", "--debug-log", "metrics", "--debug-log-verbosity", "detailed"]
            collector = subprocess.Popen([program, *arguments], stdout=out, stderr=subprocess.STDOUT, cwd=folder)
            try:
                wait_for(http)
                summary = run(sys.argv[1], sys.argv[2], pathlib.Path(folder) / "results", http)
                time.sleep(1)
            finally:
                collector.send_signal(signal.SIGINT)
                try:
                    collector.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    collector.kill()
        found = problems(summary, log.read_text(errors="replace"))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
