#!/usr/bin/env python3
"""Holds the crates to the drawing: which room may depend on which, and what the pure rooms may not know.

Purity is kept by Cargo.toml (a crate without tokio cannot await), so the manifests are what is checked:
`cargo metadata --no-deps` against the tables below. A new room or edge is a change of the design, made
here in the same commit. Exit code 1 and one line for each edge that is not allowed.
"""

import json
import pathlib
import subprocess
import sys

# Room -> the rooms that it may depend on. The root package, the command, may depend on all.
ROOMS = {
    "metrics": set(),
    "workload": {"metrics"},
    "client": {"metrics", "workload"},
    "protocol": {"metrics", "workload"},
    "worker": {"protocol", "client", "workload", "metrics"},
    "coordinator": {"protocol", "workload", "metrics"},
    "report": {"metrics"},
    "observe": {"metrics", "report"},
    "simulator": set(),
}
ROOT = "tokenstorm"

# Plain functions of their arguments: no runtime, actor or HTTP, not even in their tests.
PURE = {"metrics", "workload"}
IMPURE_CRATES = ("tokio", "ractor", "hyper", "reqwest", "http", "rustls", "socket2", "nix", "async-", "futures")

# Anybody's tests may measure the simulator, except those of the pure rooms.
TESTS_MAY_USE = {"simulator"}


def room(package: str) -> str:
    """`tokenstorm-metrics` is the room `metrics`; the command keeps its name."""
    return package.removeprefix(ROOT + "-")


def is_impure(crate: str) -> bool:
    """A name covers its family: `tokio` also means tokio-util."""
    return any(crate == name or crate.startswith(name.rstrip("-") + "-") or crate.startswith(name + "_") for name in IMPURE_CRATES)


def allowed_rooms(name: str, is_test_only: bool) -> set:
    if name == ROOT:
        return set(ROOMS)
    tests = TESTS_MAY_USE if is_test_only and name not in PURE else set()
    return ROOMS[name] | tests


def problems(packages: list) -> list:
    found = []
    members = {package["name"] for package in packages}
    for package in packages:
        name = room(package["name"])
        if name != ROOT and name not in ROOMS:
            found.append(f"{name}: not a room of the drawing; add it to ROOMS in scripts/check-edges.py")
            continue
        for dependency in package["dependencies"]:
            crate, is_test_only = dependency["name"], dependency["kind"] == "dev"
            if crate in members and room(crate) not in allowed_rooms(name, is_test_only) | {name}:
                found.append(f"{name} -> {room(crate)}: this edge is not in the drawing")
            if name in PURE and is_impure(crate):
                found.append(f"{name} -> {crate}: a pure room knows no runtime, actor, HTTP or system call")
    missing = set(ROOMS) - {room(member) for member in members}
    found += [f"{name}: the drawing has this room, the workspace does not" for name in sorted(missing)]
    return found


def main() -> int:
    repository = pathlib.Path(__file__).resolve().parent.parent
    metadata = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version", "1", "--offline"],
        cwd=repository, stdout=subprocess.PIPE, check=True,
    )
    packages = json.loads(metadata.stdout)["packages"]
    found = problems(packages)
    for problem in found:
        print(problem, file=sys.stderr)
    edges = sum(len(package["dependencies"]) for package in packages)
    if not found:
        print(f"{len(packages)} crates, {edges} dependencies: as drawn")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
