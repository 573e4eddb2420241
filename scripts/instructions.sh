#!/usr/bin/env bash
# Counts the instructions that a token costs on the client's hot path (framing, events, histograms; not the kernel),
# and fails when they have grown by more than 5 % over the count in scripts/instructions.tsv.
#
# Counts belong to a compiler: one that has no line yet is told, and --write adds or replaces its line.
#
# usage: scripts/instructions.sh [--write]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

counts=scripts/instructions.tsv
compiler=$(rustc --version | cut -d' ' -f1-2)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cargo build --quiet --locked --profile profiling --package tokenstorm-client --example hot_path
program=${CARGO_TARGET_DIR:-target}/profiling/examples/hot_path
events=$(valgrind --quiet --tool=callgrind --callgrind-out-file="$work/out" --collect-atstart=no \
    --toggle-collect='hot_path::counted' "$program")
total=$(awk '/^(summary|totals):/ { print $2; exit }' "$work/out")
now=$((total / events))
((now > 0)) || { echo "error: callgrind counted nothing: was hot_path::counted renamed?" >&2; exit 1; }

if [[ ${1:-} == --write ]]; then
    { grep -v "^$compiler	" "$counts" 2>/dev/null || true; printf '%s\t%s\n' "$compiler" "$now"; } >"$work/counts"
    sort "$work/counts" >"$counts"
    echo "$now instructions a token, written for $compiler"
    exit 0
fi
known=$(awk -F'\t' -v compiler="$compiler" '$1 == compiler { print $2 }' "$counts")
if [[ -z $known ]]; then
    echo "$now instructions a token; no count is known for $compiler: scripts/instructions.sh --write adds it"
    exit 0
fi
echo "$now instructions a token ($known in $counts, $compiler)"
((now * 100 <= known * 105)) || { echo "error: more than 5 % above it" >&2; exit 1; }
