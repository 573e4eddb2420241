#!/usr/bin/env bash
# What everything on (records, telemetry, pages, scraping) costs a lane: its instructions per token, by callgrind, at most 2 % more.
#
# Builds the profiling profile (ten minutes on two cores, if nothing of it is there); two runs with and two without then
# take some ten minutes. Needs valgrind; without it it says so and ends with 0.
#
# usage: scripts/long/everything-on.sh [arguments of everything-on.py]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if ! command -v valgrind >/dev/null; then
    echo "skipped: there is no valgrind here"
    exit 0
fi
cargo build --quiet --locked --profile profiling --bin tokenstorm
exec python3 scripts/long/everything-on.py --binary "${CARGO_TARGET_DIR:-target}/profiling/tokenstorm" "$@"
