#!/usr/bin/env bash
# The image, built and used: one static program, small, run by nobody in particular on a file system that cannot be written;
# names resolved (scripts/long/static-names.py); the compose file run to its end. A release build: some ten minutes of a
# processor.
#
# Needs docker or podman with a daemon that answers; without one it says so and ends with 0. COMPOSE_FILE may name other
# files, as docker compose itself takes it.
#
# usage: scripts/long/image.sh [IMAGE]     an image that is there already is not built again
#   IMAGE_BUILD_FLAGS  for `docker build`, such as "--network host" where registries can be reached by the host alone
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source scripts/long/engine.sh

most_mib=48
image=${1:-}

engine=$(container_engine)
if [[ -z $engine ]]; then
    echo "skipped: neither docker nor podman answers here"
    exit 0
fi

scratch=$(mktemp -d)
container='' passed=0
leave() {
    [[ -z $container ]] || "$engine" rm --force "$container" >/dev/null 2>&1 || true
    rm -rf "$scratch"
}
trap leave EXIT
fail() {
    echo "error: $1" >&2
    echo "$passed passed, 1 failed"
    exit 1
}
proven() {
    echo "$1"
    passed=$((passed + 1))
}

if [[ -z $image ]]; then
    image=tokenstorm:0.1.0
    builder=$(sed -n 's/^FROM \(.*\) AS build$/\1/p' Dockerfile)
    if ! "$engine" image inspect "$builder" >/dev/null 2>&1 && ! "$engine" pull --quiet "$builder" >/dev/null 2>&1; then
        echo "skipped: the builder's image $builder is neither here nor to be had"
        exit 0
    fi
    read -ra flags <<<"${IMAGE_BUILD_FLAGS:-}"
    began=$SECONDS
    "$engine" build "${flags[@]}" --tag "$image" . || fail "the image cannot be built"
    proven "built from its source in $((SECONDS - began)) s"
fi

size=$("$engine" image inspect --format '{{.Size}}' "$image")
((size < most_mib * 1024 * 1024)) || fail "the image has $((size / 1000 / 1000)) MB, more than $most_mib MiB"
proven "size: $((size / 1000 / 1000)) MB"

container=$("$engine" create "$image" --version)
"$engine" cp "$container:/tokenstorm" "$scratch/tokenstorm"
# The loader's name stands in every program that needs shared libraries.
if grep --quiet --text --extended-regexp '/lib(64)?/ld-' "$scratch/tokenstorm"; then
    fail "the program needs shared libraries, and the image has none"
fi
proven "static: yes"

user=$("$engine" image inspect --format '{{.Config.User}}' "$image")
[[ $user =~ ^[1-9] ]] || fail "the image's user is \`$user\`, which may be root"
confined=(--rm --read-only --network none --cap-drop ALL --security-opt no-new-privileges)
"$engine" run "${confined[@]}" "$image" --version
"$engine" run "${confined[@]}" --user 4711:4711 "$image" --version >/dev/null
# With no network but its own loopback, and one place to write.
config='benchmark: {duration: 2}
load: {rate: 20}
simulator: {ttftMs: 5}'
printf '%s\n' "$config" >"$scratch/run.yaml"
chmod -R go+rX "$scratch"
"$engine" run "${confined[@]}" --user 4711:4711 --tmpfs /results:mode=1777 --volume "$scratch/run.yaml:/run.yaml:ro" \
    "$image" run --config /run.yaml >"$scratch/table"
grep --quiet '40 due = 40 completed' "$scratch/table" || fail "a run on a read-only file system: $(cat "$scratch/table")"
proven "read-only, not root: a run of 40 requests"

scripts/long/static-names.py "$scratch/tokenstorm" || fail "names are not resolved"
proven "names: resolved"

mapfile -t compose < <(compose_of "$engine")
if ((${#compose[@]} == 0)); then
    echo "compose: skipped, there is no compose here"
    echo "$passed passed, 0 failed"
    exit 0
fi
export COMPOSE_FILE=${COMPOSE_FILE:-docker-compose.yaml} UID GID
GID=$(id -g)
mkdir -p results
before=$(find results -mindepth 1 -maxdepth 1 | wc -l)
"${compose[@]}" up --no-build --detach
code=$("$engine" wait "$("${compose[@]}" ps --all --quiet coordinator)")
"${compose[@]}" logs --no-log-prefix coordinator | tail -n 12
"${compose[@]}" down --volumes
# A busy machine may make the run INVALID (4): the fleet came together all the same, and left its results.
[[ $code == 0 || $code == 4 ]] || fail "the coordinator of the compose file ended with $code"
after=$(find results -mindepth 1 -maxdepth 1 | wc -l)
((after == before + 1)) || fail "the compose file left $((after - before)) results"
proven "compose: a fleet of three, its results in ./results"
echo "$passed passed, 0 failed"
