#!/usr/bin/env bash
# The one gate, at home and in CI: what this script accepts may be committed, and nothing else decides.
#
# All steps run, also after one has failed, so that one run shows everything there is to repair. A tool that
# is missing is skipped with a line at home and is an error when CI=true (.ci/run installs them). The last
# line is "N passed, N failed": tests, and each failed step that is not a test counts as one failure.
#
# usage: scripts/check.sh [--long]
#   --long  adds the tests marked #[ignore] and the programs scripts/long/*.sh, each of which also runs by itself
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
export CARGO_TERM_COLOR=never CARGO_TERM_PROGRESS_WHEN=never
# Where .ci/run keeps the tools that it had to install; the machine's own come first.
export PATH="$PATH:${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/tokenstorm/tools/bin"

mode=default
case "${1:-}" in
"") ;;
--long) mode=long ;;
*)
    sed -n '8,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac

scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

passed=0
failed=0
failed_steps=()

# --- the frame -----------------------------------------------------------------------------------

book_failure() { # step
    failed=$((failed + 1))
    failed_steps+=("$1")
}

# Runs one step with its output shown and kept in $scratch/log; says its name before and its time after.
run_step() { # name, command...
    local name=$1 begin=$SECONDS code
    shift
    echo "== $name"
    "$@" </dev/null 2>&1 | tee "$scratch/log"
    code=${PIPESTATUS[0]}
    if ((code == 0)); then echo "-- $name: ok, $((SECONDS - begin)) s"; else echo "-- $name: FAILED, $((SECONDS - begin)) s"; fi
    echo
    return "$code"
}

step() { # name, command...
    run_step "$@" || book_failure "$1"
}

# A step that is nothing without its tool.
step_with() { # tool, name, command...
    local tool=$1
    shift
    if command -v "$tool" >/dev/null; then
        step "$@"
    elif [[ ${CI:-} == true ]]; then
        echo "== $1: FAILED, $tool is missing"
        book_failure "$1"
    else
        echo "== $1: skipped, $tool is not installed"
    fi
}

# Steps whose output counts tests. A failure that names no test (it did not build, say) still counts as one.
test_step() { # name, counter, command...
    local name=$1 counter=$2 code=0 ok=0 bad=0
    shift 2
    run_step "$name" "$@" || code=$?
    read -r ok bad < <("$counter" "$scratch/log")
    passed=$((passed + ok))
    failed=$((failed + bad))
    ((bad == 0)) || failed_steps+=("$name")
    ((code == 0 || bad > 0)) || book_failure "$name"
}

# "Summary [ 0.1s] 45 tests run: 44 passed (1 slow), 1 failed, 2 skipped": what ran and did not pass, failed.
count_nextest() { # log
    awk '/^ *Summary \[/ {
        for (i = 2; i <= NF; i++) {
            if ($i ~ /^tests?$/ && $(i + 1) == "run:") run = $(i - 1)
            if ($i ~ /^passed,?$/) ok = $(i - 1)
        }
        sub("/.*", "", run) # "12/45 tests run": what was not reached has not failed
    } END { print ok + 0, run - ok }' "$1"
}

# "test result: FAILED. 10 passed; 1 failed; 0 ignored; ...", a line for each test program.
count_cargo_test() { # log
    awk '/^test result: / { ok += $4; bad += $6 } END { print ok + 0, bad + 0 }' "$1"
}

# Programs of scripts/long count for themselves: "7 passed, 0 failed" is their last line, unless they are skipped.
count_last_line() { # log
    awk '/^[0-9]+ passed, [0-9]+ failed$/ { ok = $1; bad = $3 } END { print ok + 0, bad + 0 }' "$1"
}

# --- the steps -----------------------------------------------------------------------------------

# A merge that was left half done: no compiler reads a document.
no_conflict_markers() {
    ! git grep -nE '^(<<<<<<<|>>>>>>>)( |$)' -- .
}

check_shell_scripts() {
    find scripts .ci \( -name '*.sh' -o -path .ci/run \) -exec shellcheck {} +
}

run_tests() {
    local ignored=()
    if cargo nextest --version >/dev/null 2>&1; then
        [[ $mode == long ]] && ignored=(--run-ignored all)
        test_step "tests" count_nextest cargo nextest run --workspace --locked --no-fail-fast "${ignored[@]}"
    else
        [[ $mode == long ]] && ignored=(-- --include-ignored)
        test_step "tests" count_cargo_test cargo test --workspace --locked --lib --bins --tests --no-fail-fast "${ignored[@]}"
    fi
}

# The database of advisories is a download. Without it nothing can be said, and that is said.
check_advisories() {
    if ! timeout 60 cargo deny --log-level error fetch db >/dev/null 2>&1; then
        echo "skipped: the advisory database cannot be reached from here"
        return 0
    fi
    cargo deny check --disable-fetch advisories
}

documentation() {
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --locked --no-deps
}

if ! command -v cargo >/dev/null; then
    echo "cargo is missing: install a Rust toolchain (rustup's stable)" >&2
    echo "0 passed, 1 failed"
    exit 1
fi

step "format" cargo fmt --all -- --check
step "conflict markers" no_conflict_markers
step_with typos "spelling" typos
step_with shellcheck "shell scripts" check_shell_scripts
step_with python3 "crate edges" scripts/check-edges.py
step_with python3 "dashboards" scripts/check-dashboards.py
missing=$(scripts/check-k8s.sh --missing)
step_with "${missing:-kubectl}" "manifests" scripts/check-k8s.sh
step "clippy" cargo clippy --workspace --all-targets --locked -- -D warnings
run_tests
test_step "doc tests" count_cargo_test cargo test --workspace --locked --doc --no-fail-fast
step_with valgrind "instructions a token" scripts/instructions.sh
step "documentation" documentation
step_with cargo-deny "licences, bans, sources" cargo deny --locked check licenses bans sources
step_with cargo-deny "advisories" check_advisories
if [[ $mode == long ]]; then
    for program in scripts/long/*.sh; do
        [[ -x $program ]] && test_step "$program" count_last_line "$program"
    done
fi

((${#failed_steps[@]} == 0)) || printf 'failed: %s\n' "${failed_steps[@]}"
echo "took $SECONDS s"
echo "$passed passed, $failed failed"
((failed == 0))
