#!/usr/bin/env bash
# A real Prometheus that scrapes the coordinator and the simulator, as part of the gate's long mode: what a run reports of
# the server is held to what PromQL answers (scripts/long/prometheus.py). Without a `prometheus` in PATH, or one named by
# PROMETHEUS, it says so and ends with 0. Two runs of 20 s.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if ! command -v "${PROMETHEUS:-prometheus}" >/dev/null; then
    echo "skipped: there is no prometheus here"
    exit 0
fi
cargo build --quiet --locked
target=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
TOKENSTORM=${TOKENSTORM:-$target/debug/tokenstorm} scripts/long/prometheus.py "$@"
