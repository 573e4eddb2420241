#!/usr/bin/env python3
"""A real Prometheus beside a run: it scrapes the coordinator and the simulator while both ways of collecting are used.

First a run that asks it (`metrics.prometheus`): every point of every series in `server_metrics.json` must be what PromQL
answers to this script for the same instant. Then a run that reads the simulator's own page (`metrics.scrape`) beside the
same Prometheus: what counters grew by up to each instant must lie between what Prometheus knew of them before and after
it, and gauges must have the same mean over the run, within a tolerance that is told. The ways to a quantity (a rate of a
counter, a ratio of two) are gone again here, so that a mistake in them shows. Last, every query of the dashboards is asked
over the first run: Prometheus must take it, and have values where it has the metrics.

usage: scripts/long/prometheus.py [SECONDS]      (20 a run)
environment: TOKENSTORM, the program (default: target/debug/tokenstorm); PROMETHEUS, its server (default: of PATH)
"""

import datetime
import json
import math
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

PROGRAM = os.environ.get("TOKENSTORM", "target/debug/tokenstorm")
PROMETHEUS = os.environ.get("PROMETHEUS", "prometheus")
DASHBOARDS = pathlib.Path(__file__).resolve().parent.parent.parent / "dashboards"
# Prometheus scrapes so often, and a page is answered within that.
EVERY_S = 0.2
# Between two ways of one quantity: the instants of their samples differ by up to a second.
GAUGE_MEANS_WITHIN = 0.10
# Metrics of the coordinator, asked for beside those of the server that are known.
COORDINATORS = {
    "due": "sum(tokenstorm_requests_due_total)",
    "completed": "sum(tokenstorm_requests_completed_total)",
    "in_flight": "sum(tokenstorm_requests_in_flight)",
    "tokens_per_second": "sum(rate(tokenstorm_output_tokens_total[3s]))",
    "ttft_p90": "histogram_quantile(0.9, sum by (le) (rate(tokenstorm_ttft_seconds_bucket[5s])))",
    "cpu": "sum by (worker) (tokenstorm_worker_cpu_seconds_total)",
}
# So many at a time that requests wait, and prompts of which half is known.
SIMULATOR = ["--itl-ms", "20", "--max-concurrency", "24"]
LOAD = ["load.type=ramp", "load.rate=40", "load.ramp.from=5", "prompts.prefixRatio=0.5", "prompts.outputLength.mean=30"]


class Checks:
    """One line each; the last line counts them."""

    passed = failed = 0

    def check(self, fine, what):
        print(f"{'ok' if fine else 'FAILED'}: {what}")
        self.passed, self.failed = self.passed + bool(fine), self.failed + (not fine)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def get(url, **query):
    url += "?" + urllib.parse.urlencode(query) if query else ""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


class Prometheus:
    """A server of its own, in a folder that goes with it."""

    def __init__(self, folder, targets):
        self.base = f"http://127.0.0.1:{free_port()}"
        jobs = [{"job_name": name, "static_configs": [{"targets": [at]}]} for name, at in targets.items()]
        interval = f"{int(EVERY_S * 1000)}ms"
        config = {"global": {"scrape_interval": interval, "scrape_timeout": interval}, "scrape_configs": jobs}
        (folder / "prometheus.yml").write_text(json.dumps(config))
        listen = self.base.removeprefix("http://")
        command = [PROMETHEUS, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        command += [f"--web.listen-address={listen}", "--log.level=warn"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=(folder / "prometheus.log").open("w"))
        self.wait_for(lambda: get(f"{self.base}/api/v1/status/buildinfo"))
        self.version = get(f"{self.base}/api/v1/status/buildinfo")["data"]["version"]

    def wait_for(self, answered, most_s=60):
        until = time.monotonic() + most_s
        while True:
            try:
                if answered():
                    return
            except (OSError, urllib.error.URLError):
                pass
            if time.monotonic() > until:
                raise SystemExit("error: Prometheus, or what it scrapes, is not up")
            time.sleep(0.2)

    def is_up(self, job):
        rows = get(f"{self.base}/api/v1/query", query=f'up{{job="{job}"}}')["data"]["result"]
        return rows and rows[0]["value"][1] == "1"

    def range(self, query, start_ms, end_ms, step_ms=1000):
        """By labels, the values by instant in whole milliseconds."""
        asked = {"query": query, "start": start_ms / 1e3, "end": end_ms / 1e3, "step": step_ms / 1e3}
        rows = get(f"{self.base}/api/v1/query_range", **asked)["data"]["result"]
        values = lambda row: {round(at * 1e3): float(value) for at, value in row["values"]}
        return {labels(row["metric"]): values(row) for row in rows}

    def one(self, query, start_ms, end_ms, step_ms=1000):
        rows = self.range(query, start_ms, end_ms, step_ms)
        return next(iter(rows.values()), {})

    def names(self):
        """Of all metrics that it has."""
        return set(get(f"{self.base}/api/v1/label/__name__/values")["data"])

    def end(self):
        self.process.terminate()
        self.process.wait()


def labels(metric):
    pairs = [f"{name}={value}" for name, value in sorted(metric.items()) if name != "__name__"]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def run(folder, name, seconds, base, http, sets):
    """Its summary and its server_metrics.json."""
    results = folder / name
    command = [PROGRAM, "run", "--endpoint", f"{base}/v1", "--duration", str(seconds), "--http", str(http)]
    command += ["--no-probe", "--output", str(results)]
    for one in [*LOAD, *sets]:
        command += ["--set", one]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    # A busy machine may make the run INVALID (4): its figures are compared with themselves.
    if ended.returncode not in (0, 4):
        raise SystemExit(f"error: {name} ended with {ended.returncode}\n{ended.stdout}")
    read = lambda file: json.loads(next(results.glob(f"*/{file}")).read_text())
    return read("summary.json"), read("server_metrics.json")


def started_ms(summary):
    return round(datetime.datetime.fromisoformat(summary["run"]["startedAt"].replace("Z", "+00:00")).timestamp() * 1e3)


def grown(values):
    """Of each step its end, its start and the growth; a counter that fell was reset."""
    instants = sorted(values)
    steps = [(to, at, values[to] - values[at]) for at, to in zip(instants, instants[1:])]
    return [step for step in steps if step[2] >= 0]


def expected(series, ask):
    """What a series must be, made of what PromQL answers: `ask` takes a query to values by instant."""
    if " / " in series["of"]:
        above, below = (ask(query) for query in series["of"].split(" / "))
        whole = {(to, at): growth for to, at, growth in grown(below) if growth > 0}
        return {to: growth / whole[to, at] for to, at, growth in grown(above) if (to, at) in whole}
    values = ask(series["of"])
    if series["unit"] in ("tokens/s", "1/s"):
        return {to: 1e3 * growth / (to - at) for to, at, growth in grown(values)}
    return {at: value for at, value in values.items() if math.isfinite(value)}


def is_same(one, other):
    return other is not None and math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)


def asked_run(checks, prometheus, folder, seconds, base, http):
    queries = [{"name": name, "query": query} for name, query in COORDINATORS.items()]
    sets = [f"metrics.prometheus.endpoint={prometheus.base}", f"metrics.prometheus.queries={json.dumps(queries)}"]
    summary, server = run(folder, "asked", seconds, base, http, sets)
    checks.check(not server["problems"], f"asked: no problem was told {server['problems'] or ''}")
    start, end = started_ms(summary), started_ms(summary) + (seconds + 60) * 1000
    # The summary knows the start to a millisecond: its neighbours count too.
    starts = [start - 1, start, start + 1]
    for series in server["series"]:
        name, _, label = series["name"].partition("{")
        label = "{" + label if label else None

        def ask_from(begun):
            def ask(query):
                rows = prometheus.range(query, begun, end)
                found = rows.get(label) if label else next(iter(rows.values()), {})
                return {at - begun: value for at, value in (found or {}).items()}

            return expected(series, ask)

        candidates = [ask_from(begun) for begun in starts]
        points = {round(at / 1e3) * 1000: value for at, value in series["points"]}
        wrong = [at for at, value in points.items() if not any(is_same(value, one.get(at)) for one in candidates)]
        what = f"asked: {series['name']}: {len(points) - len(wrong)} of {len(points)} points are PromQL's"
        checks.check(points and not wrong, f"{what}, from {min(points.values()):.4g} to {max(points.values()):.4g}")
    named = {series["name"].partition("{")[0] for series in server["series"]}
    missing = [name for name in [*COORDINATORS, "queue_depth", "requests_running", "cache_hit_ratio"] if name not in named]
    checks.check(not missing, f"asked: series of the coordinator and of the server are there {missing or ''}")
    return start, start + seconds * 1000


def dashboards_asked(checks, prometheus, start_ms, end_ms):
    """Every query as a dashboard sends it, its variables set to all of their values."""
    names = prometheus.names()
    for file in sorted(DASHBOARDS.glob("*.json")):
        dashboard = json.loads(file.read_text())
        variables = [one["query"]["query"] for one in dashboard["templating"]["list"] if one["type"] == "query"]
        queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
        valued, without, empty = 0, 0, []
        for query in queries + [re.sub(r"label_values\((.*), \w+\)", r"\1", one) for one in variables]:
            try:
                rows = prometheus.range(re.sub(r"\$\w+", ".*", query), start_ms, end_ms)
            except urllib.error.HTTPError as error:
                empty.append(f"{query}: {error.read().decode()}")
                continue
            asked = set(re.findall(r"\b(?:tokenstorm_\w+|vllm:\w+|inference_\w+|DCGM_\w+)", query))
            if any(math.isfinite(value) for row in rows.values() for value in row.values()):
                valued += 1
            elif asked <= names:
                empty.append(query)
            else:
                without += 1
        told = f"{valued} queries have values, {without} are of metrics that nothing here has"
        checks.check(valued and not empty, f"dashboard {file.name}: {told}{''.join(f'; nothing for {one}' for one in empty)}")


def scraped_run(checks, prometheus, folder, seconds, base, http):
    summary, server = run(folder, "scraped", seconds, base, http, ["metrics.scrape=[target]"])
    checks.check(not server["problems"], f"scraped: no problem was told {server['problems'] or ''}")
    start = started_ms(summary)
    # Prometheus knows a value from the scrape before, and the page may have been read up to a scrape later.
    slack_ms = round(3 * EVERY_S * 1000)
    for series in server["series"]:
        points = series["points"]
        fine = [(start + at, value) for at, value in points]
        first, last = fine[0][0] - 2000, fine[-1][0] + 2000
        ask = lambda query: prometheus.one(query, first, last, 50)
        if " / " in series["of"]:
            above, below = (ask(query) for query in series["of"].split(" / "))
            ratio = lambda values: max(values.values()) - min(values.values())
            theirs, ours = ratio(above) / ratio(below), sum(value for _, value in fine) / len(fine)
            near = abs(theirs - ours) <= GAUGE_MEANS_WITHIN
            checks.check(near, f"scraped: {series['name']}: mean {ours:.4f}, of the whole stretch by PromQL {theirs:.4f}")
        elif series["unit"] in ("tokens/s", "1/s"):
            checks.check(*between(series["name"], fine, ask(series["of"]), slack_ms))
        else:
            values = [value for at, value in ask(series["of"]).items() if fine[0][0] <= at <= fine[-1][0]]
            theirs, ours = sum(values) / len(values), sum(value for _, value in fine) / len(fine)
            near = abs(theirs - ours) <= GAUGE_MEANS_WITHIN * max(theirs, ours) + 0.5
            checks.check(near, f"scraped: {series['name']}: mean {ours:.3f}, by PromQL {theirs:.3f}")


def between(name, rates, counter, slack_ms):
    """Whether the growth that the rates add up to lies at each instant between two readings of Prometheus."""
    instants = sorted(counter)
    before = lambda at: counter[max((one for one in instants if one <= at), default=instants[0])]
    grown_by, outside = 0.0, 0
    # The first rate is of the step that ends with its point, about a second before it.
    begun = rates[0][0]
    for (at, _), (to, rate) in zip(rates, rates[1:]):
        grown_by += rate * (to - at) / 1e3
        least = before(to - slack_ms) - before(begun + slack_ms)
        most = before(to + slack_ms) - before(begun - slack_ms)
        outside += not least - 1e-6 <= grown_by <= most + 1e-6
    whole = before(rates[-1][0]) - before(begun)
    told = f"grew by {grown_by:.0f}, by PromQL {whole:.0f}"
    return outside == 0, f"scraped: {name}: {told}; {outside} of {len(rates) - 1} instants beyond {slack_ms} ms"


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    checks, http = Checks(), free_port()
    simulate = [PROGRAM, "simulate", "--listen", "127.0.0.1:0", *SIMULATOR]
    simulator = subprocess.Popen(simulate, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    prometheus = None
    try:
        line = simulator.stdout.readline()
        base = next(word for word in line.split() if word.startswith("http://")).rstrip(":;,")
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            targets = {"tokenstorm": f"127.0.0.1:{http}", "server": base.removeprefix("http://")}
            prometheus = Prometheus(folder, targets)
            prometheus.wait_for(lambda: prometheus.is_up("server"))
            print(f"Prometheus {prometheus.version}, a scrape every {EVERY_S} s, runs of {seconds} s")
            begun, ended = asked_run(checks, prometheus, folder, seconds, base, http)
            dashboards_asked(checks, prometheus, begun, ended)
            scraped_run(checks, prometheus, folder, seconds, base, http)
            prometheus.end()
    finally:
        for process in [simulator, *([prometheus.process] if prometheus else [])]:
            process.kill()
            process.wait()
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
