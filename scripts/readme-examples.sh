#!/usr/bin/env bash
# Runs the README's shell examples, so that what a new user types first is known to work.
#
# Every ```sh block of README.md runs line by line, as written, but for three things: `cargo run --release --` is
# the command as built here (a debug build: an example shows that it works, not how fast), a placeholder host is a
# simulator, and a placeholder value (…) is a word. A line that would start the gate from inside the gate is
# skipped, and said. Results go to a scratch directory.
#
# usage: scripts/readme-examples.sh [FILE]     (default README.md)
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
document=$(realpath "${1:-$repository/README.md}")

scratch=$(mktemp -d)
simulator=
stop() {
    [[ -z $simulator ]] || kill "$simulator" 2>/dev/null || true
    rm -rf "$scratch"
}
trap stop EXIT
trap 'exit 130' INT TERM

cd "$repository"
cargo build --locked --quiet
target=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
export PATH="$target/debug:$PATH"

# Relative paths of the examples start from the repository; what they write must not land there.
mkdir "$scratch/work"
ln -s "$repository/configs" "$repository/docs" "$repository/scripts" "$scratch/work/"
cd "$scratch/work"

start_simulator() { # prints its URL
    tokenstorm simulate >"$scratch/simulator" 2>&1 &
    simulator=$!
    for _ in {1..100}; do
        endpoint=$(grep -o 'http://127\.0\.0\.1:[0-9]*' "$scratch/simulator" | head -n 1) && return
        sleep 0.1
    done
    echo "the simulator did not start:" >&2
    cat "$scratch/simulator" >&2
    exit 1
}

examples() { # the lines of all sh blocks that are commands
    awk '/^```/ { inside = ($0 == "```sh"); next } inside && !/^[[:space:]]*(#|$)/' "$document"
}

start_simulator
failed=0 ran=0
while IFS= read -r example; do
    case $example in
    *scripts/check.sh* | *.ci/run*)
        echo "skipped: $example   (this is the gate itself)"
        continue
        ;;
    esac
    command=${example//cargo run --release --/tokenstorm}
    command=${command//http:\/\/gateway:8000/$endpoint}
    command=${command//…/example}
    echo "\$ $example"
    ran=$((ran + 1))
    # In this shell, so that a variable set by one line is there for the next.
    if ! eval "$command" </dev/null >"$scratch/output" 2>&1; then
        failed=$((failed + 1))
        echo "FAILED, run as: $command"
        cat "$scratch/output"
    fi
done < <(examples)

echo "$((ran - failed)) passed, $failed failed"
((ran > 0 && failed == 0))
