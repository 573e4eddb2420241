#!/usr/bin/env bash
# Fuzzes everything that reads what others wrote: answers from head to end, event streams, JSON events, the wire codec, the journal and the
# configuration, from the seeds in fuzz/corpus. Ends with code 1 when a target fails; its input is kept in
# fuzz/artifacts/TARGET, and `cargo +nightly fuzz run --sanitizer none TARGET FILE` repeats it.
#
# It needs nightly Rust and cargo-fuzz (`cargo install cargo-fuzz --locked`), and is skipped with a line without them.
# No sanitizer: there is no unsafe code here, and without one the same minute tries several times as many inputs. Sums
# that overflow, panics, hangs and unbounded memory are found without it.
#
# usage: scripts/long/fuzz.sh [TARGET...]
#   FUZZ_SECONDS  for each target; default 60
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
export PATH="$PATH:${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/tokenstorm/tools/bin"

seconds=${FUZZ_SECONDS:-60}
# In CI the builds are kept outside of the checkout; the gate's linker flags are not for instrumented builds.
target_dir=${CARGO_TARGET_DIR:+$CARGO_TARGET_DIR/fuzz}
target_dir=${target_dir:-$PWD/fuzz/target}
unset RUSTFLAGS

if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "skipped: nightly Rust is not installed"
    exit 0
fi
if ! command -v cargo-fuzz >/dev/null; then
    echo "skipped: cargo-fuzz is not installed"
    exit 0
fi

targets=("$@")
if ((${#targets[@]} == 0)); then
    mapfile -t targets < <(cargo +nightly fuzz list)
fi

# New inputs go to a corpus of their own, from which the next run goes on; the seeds stay as they are.
fuzz_one() { # target
    local found=$target_dir/corpus/$1 dictionary=fuzz/dictionaries/$1.dict options=()
    mkdir -p "$found"
    [[ -e $dictionary ]] && options+=("-dict=$dictionary")
    options+=("-max_total_time=$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=16384 -print_final_stats=1)
    cargo +nightly fuzz run --sanitizer none --target-dir "$target_dir" "$1" "$found" "fuzz/corpus/$1" -- "${options[@]}"
}

cargo fmt --manifest-path fuzz/Cargo.toml -- --check || exit 1
cargo +nightly fuzz build --sanitizer none --target-dir "$target_dir" || exit 1

failed=()
for target in "${targets[@]}"; do
    echo "-- $target, $seconds s"
    # The progress of a target that holds is hundreds of lines.
    if ! fuzz_one "$target" >"$target_dir/$target.log" 2>&1; then
        failed+=("$target")
        grep -a -A 12 -m 1 "panicked at\|ERROR: libFuzzer" "$target_dir/$target.log"
        grep -a "fuzz/artifacts/.*$" "$target_dir/$target.log"
    fi
    grep -aE '^stat::(number_of_executed_units|new_units_added|peak_rss_mb)|^Done ' "$target_dir/$target.log"
done

((${#failed[@]} == 0)) || echo "failed: ${failed[*]}"
echo "$((${#targets[@]} - ${#failed[@]})) passed, ${#failed[@]} failed"
((${#failed[@]} == 0))
