#!/usr/bin/env python3
"""Holds the dashboards to what is served: names that are in no page of /metrics, and panels that overlap.

Names of ours come from crates/observe/src/exposition.rs, those of servers from crates/observe/src/known.rs, so a metric
that is renamed there and not here is found. What Prometheus and Grafana are provisioned with is held to the compose file:
hosts that are services of it, folders that it mounts. Exit code 1 and one line for each problem.
"""

import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Histograms are told by the names of their metrics.
LATENCIES = ("ttft", "itl", "icl", "e2e_latency", "schedule_lag", "generator_lag")


def served() -> set:
    observe = ROOT / "crates/observe/src"
    ours = re.findall(r'\.(?:head|sample|counter|gauge|by|each)\(\s*"(\w+)"', (observe / "exposition.rs").read_text())
    theirs = re.findall(r'"((?:vllm:|inference_|DCGM_)\w+)"', (observe / "known.rs").read_text())
    histograms = [f"{name}_seconds_{part}" for name in LATENCIES for part in ("bucket", "sum", "count")]
    scheduler = [name.removesuffix("_sum") + "_bucket" for name in theirs if name.endswith("_sum")]
    return {f"tokenstorm_{name}" for name in [*ours, *histograms]} | set(theirs) | set(scheduler)


def names_of(query: str) -> set:
    return set(re.findall(r"\b(?:tokenstorm_\w+|vllm:\w+|inference_\w+|DCGM_\w+)", query))


def overlaps(one: dict, other: dict) -> bool:
    a, b = one["gridPos"], other["gridPos"]
    return a["x"] < b["x"] + b["w"] and b["x"] < a["x"] + a["w"] and a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"]


def problems(file: pathlib.Path, known: set) -> list:
    dashboard = json.loads(file.read_text())
    panels, found = dashboard["panels"], []
    if len({panel["id"] for panel in panels}) != len(panels):
        found.append("two panels have one id")
    for place, panel in enumerate(panels):
        queries = [target["expr"] for target in panel["targets"]]
        unknown = set().union(*map(names_of, queries)) - known
        found += [f"{panel['title']}: {name} is served by nobody" for name in sorted(unknown)]
        found += [f"{panel['title']} lies over {other['title']}" for other in panels[:place] if overlaps(panel, other)]
    return [f"{file.relative_to(ROOT)}: {problem}" for problem in found]


def provisioned() -> list:
    """What the compose file's profile `observability` would look for in vain."""
    folder, compose = ROOT / "dashboards", (ROOT / "docker-compose.yaml").read_text()
    services = compose.partition("\nservices:")[2].partition("\nvolumes:")[0]
    services = set(re.findall(r"^  (\w+):$", services, re.MULTILINE))
    mounted = dict(re.findall(r'"\./dashboards(\S*?):(/[^:"]+):ro"', compose))
    sources = (folder / "provisioning/datasources/prometheus.yaml").read_text()
    hosts = re.findall(r"url: http://([\w-]+):\d+", sources)
    hosts += re.findall(r'targets: \["([\w-]+):\d+"\]', (folder / "prometheus.yml").read_text())
    found = [f"dashboards: {host} is no service of docker-compose.yaml" for host in hosts if host not in services]
    paths = re.findall(r"path: (\S+)", (folder / "provisioning/dashboards/tokenstorm.yaml").read_text())
    found += [f"dashboards: {path} is mounted nowhere" for path in paths if path not in mounted.values()]
    found += [f"docker-compose.yaml: dashboards{file} is not there" for file in mounted if not (ROOT / f"dashboards{file}").exists()]
    if len(hosts) < 3 or not paths or len(mounted) < 3:
        found.append("dashboards: the provisioning has another layout than this script knows")
    return found


def main() -> int:
    known, files = served(), sorted((ROOT / "dashboards").glob("*.json"))
    found = [problem for file in files for problem in problems(file, known)] + provisioned()
    for problem in found:
        print(problem, file=sys.stderr)
    if not found:
        print(f"{len(files)} dashboards, {len(known)} names: as served")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
