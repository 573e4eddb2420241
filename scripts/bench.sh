#!/usr/bin/env bash
# Measures the client itself: CPU time per event of the hot path on one core, and memory per stream.
#
# The simulator runs on core 1 and the client on core 0, so that neither is charged for the other. CPU
# time is read from the result (the lanes' own threads) and from the kernel (the whole process); wall
# time is not used. A round counts only while the simulator's own loop lag p99 is at most 0.5 ms; others
# are printed as "server-bound".
#
# Usage: scripts/bench.sh [ROUNDS]        (default 5)
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${1:-5}
work=$(mktemp -d)
binary=${CARGO_TARGET_DIR:-target}/release/tokenstorm
pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap finish EXIT

cargo build --release --quiet
command -v taskset >/dev/null || { echo "error: taskset (util-linux) is needed" >&2; exit 1; }

simulator() { # flags…: starts one on core 1, leaves its base URL in $base
    : >"$work/simulator.log"
    taskset -c 1 "$binary" simulate --listen 127.0.0.1:0 --fixed --prefix-cache-blocks 0 \
        --max-concurrency 0 "$@" 2>"$work/simulator.log" &
    pids+=($!)
    for _ in $(seq 100); do
        base=$(grep -oE 'http://[0-9.:]+' "$work/simulator.log" | head -1) && [ -n "$base" ] && return
        sleep 0.05
    done
    cat "$work/simulator.log" >&2
    exit 1
}

echo "machine: $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs), $(nproc) cores, Linux $(uname -r)"
echo "version: $("$binary" --version), $(rustc --version)"

simulator --ttft-ms 0 --itl-ms 0
for round in $(seq "$rounds"); do
    taskset -c 0 "$binary" run --endpoint "$base" --concurrency 64 --duration 10 --no-probe --json \
        --set client.lanes=1 --set load.rampUp=0.1 --set prompts.inputLength.mean=16 \
        --set prompts.outputLength.mean=64 --set benchmark.warmup=2 \
        --output "$work/results" >"$work/saturated-$round.json" 2>"$work/saturated-$round.log" || true
done

plateau() { # streams: prints the most resident KiB of a run with so many
    taskset -c 0 "$binary" run --endpoint "$base" --concurrency "$1" --duration 10 --no-probe --json \
        --set client.lanes=1 --set load.rampUp=3 --set prompts.inputLength.mean=16 \
        --set prompts.outputLength.mean=300 --set benchmark.drain=0 \
        --output "$work/results" >"$work/paced.json" 2>"$work/paced.log" &
    local client=$! most=0 rss
    pids+=("$client")
    while rss=$(awk '/^VmRSS/ {print $2}' "/proc/$client/status" 2>/dev/null) && [ -n "$rss" ]; do
        [ "$rss" -gt "$most" ] && most=$rss
        sleep 0.25
    done
    wait "$client" || true
    echo "$most"
}

# The difference of two plateaus is the streams alone: program, tokenizer and histograms are in both.
simulator --ttft-ms 100 --itl-ms 50
for round in $(seq "$rounds"); do
    echo "$(plateau 100) $(plateau 1100)" >"$work/memory-$round"
done

python3 scripts/bench-summary.py "$work" "$rounds"
