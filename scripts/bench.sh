#!/usr/bin/env bash
# Measures the client itself: what it costs, how far its figures are from the truth, and how much it carries.
#
# Builds the release binaries, measures the chosen rows with the client on core 0 and the simulator on core 1,
# writes one JSON line a measurement to a directory, and prints docs/benchmarks.md's tables from it. Nothing
# else should run on the machine: a row counts only while the simulator kept its own pace.
#
# usage: scripts/bench.sh [--rounds N] [--scale X] [--output DIR] [ROW...]
#   rows: w1 w2 neighbour healthy w3 wide memory memory_tls long help (default: all)
#         schedule (alone): CPU and memory to walk schedules of ten million arrivals
#   --rounds N   rounds of every row that has rounds (default: 9 pairs of w1, 3 of the others)
#   --scale X    all durations times X, for a try-out (default 1)
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
-h | --help)
    sed -n '2,12s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac
if [[ ${1:-} == schedule ]]; then
    exec cargo run --release --quiet -p tokenstorm-workload --example schedule
fi
# One command for both, so that their dependencies are built once, with the same features.
cargo build --release --quiet -p tokenstorm -p tokenstorm-simulator --bin tokenstorm --example raw_client
exec python3 scripts/bench.py --binaries "${CARGO_TARGET_DIR:-target}/release" "$@"
