#!/usr/bin/env bash
# Runs the README's shell examples, so that what a new user types first is known to work.
#
# Every ```sh block of README.md runs line by line, as written, but for this: `cargo run --release --` is the command
# as built here (a debug build: an example shows that it works, not how fast), a placeholder host is a simulator or
# this machine, a placeholder value (…) is a word, and a fleet's eight machines are this one. A coordinator runs beside
# the lines after it and must have ended well in the end. `bench.yaml` and the other tool's settings are there as a
# reader would have them. A line that would start the gate from inside the gate is skipped, and said. Results go to a
# scratch directory; minutes of a processor that mostly waits.
#
# usage: scripts/readme-examples.sh [FILE]     (default README.md)
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
document=$(realpath "${1:-$repository/README.md}")

scratch=$(mktemp -d)
simulator='' coordinator=''
stop() {
    local process
    for process in $simulator $coordinator; do kill "$process" 2>/dev/null || true; done
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

own_files() { # those that the examples take for given
    cat >bench.yaml <<END
target: { endpoint: "$endpoint" }
benchmark: { duration: 2, warmup: 0 }
load: { rate: 5 }
prompts: { inputLength: { mean: 64 }, outputLength: { mean: 8 } }
END
    sed "s|http://[^\"]*|$endpoint|; s|\"max_seconds\": *[0-9]*|\"max_seconds\": 2|" \
        "$repository/tests/fixtures/import/guidellm-rag.json" >guidellm-scenario.json
}

fail() { # what it ran as
    failed=$((failed + 1))
    echo "FAILED, run as: $1"
    cat "$scratch/output"
}

start_simulator
own_files
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
    command=${command//coordinator.example/127.0.0.1}
    command=${command//--expect-workers 8/--expect-workers 1}
    command=${command//…/example}
    echo "\$ $example"
    ran=$((ran + 1))
    if [[ $command == "tokenstorm coordinator "* ]]; then
        eval "$command" </dev/null >"$scratch/coordinator" 2>&1 &
        coordinator=$! coordinator_as=$command
        continue
    fi
    # In this shell, so that a variable set by one line is there for the next.
    eval "$command" </dev/null >"$scratch/output" 2>&1 || fail "$command"
    if [[ -n $coordinator && $command == "tokenstorm worker "* ]]; then
        wait "$coordinator" || { cp "$scratch/coordinator" "$scratch/output" && fail "$coordinator_as"; }
        coordinator=
    fi
done < <(examples)

echo "$((ran - failed)) passed, $failed failed"
((ran > 0 && failed == 0))
