#!/usr/bin/env bash
# The fleet under faults, longer than the gate has time for: 5,000 random rounds of the model in virtual time, then real processes of which
# one is killed, cut off for 1 s and for 20 s, stopped for 10 s, and a coordinator that is killed. Ends with code 1 when one fails; a round of the
# model that fails names its seed, and `FLEET_MODEL_SEED=N cargo test --test fleet_model` plays it again. In the end fleet-faults.py: cuts and
# stops in open and closed loop, and random rounds of the command's own processes. Some twenty minutes.
#
# usage: scripts/long/fleet-faults.sh
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1

passed=0 failed=0
part() { # command...
    echo "-- $*"
    if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

part cargo test --test fleet_model -- --ignored
# One node a process is all that the cluster library stands: one test at a time, each in its own.
for name in \
    processes_offer_one_load_and_the_books_hold_when_one_is_killed \
    a_worker_that_is_cut_off_or_stopped_sends_nothing_beside_its_heir; do
    part cargo test --test cluster -- --include-ignored --exact "$name"
done
target=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
export TOKENSTORM=${TOKENSTORM:-$target/debug/tokenstorm}
part cargo build
part scripts/long/fleet-faults.py cuts
part scripts/long/fleet-faults.py 20
part scripts/long/fleet-sizes.py
echo "$passed passed, $failed failed"
((failed == 0))
