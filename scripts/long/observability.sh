#!/usr/bin/env bash
# The compose file's profile `observability`, run: a fleet, a Prometheus and a Grafana beside it, as they are provisioned.
# Prometheus must have both of its targets up and the fleet's and the server's series by the run's end; Grafana must have
# the dashboards of ./dashboards. Half a minute.
#
# Needs docker or podman with a daemon that answers, compose, and the image of scripts/long/image.sh; without one of them
# it says so and ends with 0, as it does for a Grafana whose image is not to be had. COMPOSE_FILE may name other files.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source scripts/long/engine.sh

skip() {
    echo "skipped: $1"
    exit 0
}
engine=$(container_engine)
[[ -n $engine ]] || skip "neither docker nor podman answers here"
mapfile -t compose < <(compose_of "$engine")
((${#compose[@]} > 0)) || skip "there is no compose here"

export COMPOSE_FILE=${COMPOSE_FILE:-docker-compose.yaml} COMPOSE_PROFILES=observability UID GID
GID=$(id -g)
image_of() { # service
    "${compose[@]}" config --images "$1" | head -n 1
}
is_here() { # image
    "$engine" image inspect "$1" >/dev/null 2>&1
}
is_here "$(image_of simulator)" || skip "there is no $(image_of simulator): scripts/long/image.sh makes it"
prometheus=$(image_of prometheus)
is_here "$prometheus" || "$engine" pull --quiet "$prometheus" >/dev/null 2>&1 || skip "$prometheus is not to be had"
services=(coordinator worker prometheus)
grafana=$("${compose[@]}" config --images grafana | grep grafana)
if is_here "$grafana" || "$engine" pull --quiet "$grafana" >/dev/null 2>&1; then
    services+=(grafana)
fi

passed=0 failed=0
check() { # what, command...
    local what=$1
    shift
    if "$@"; then
        echo "ok: $what"
        passed=$((passed + 1))
    else
        echo "FAILED: $what"
        failed=$((failed + 1))
    fi
}
within() { # seconds, command...
    local until=$((SECONDS + $1))
    shift
    while ! "$@"; do
        ((SECONDS < until)) || return 1
        sleep 1
    done
}
# The one value that Prometheus answers, or nothing.
asked() { # promql
    curl --silent --fail --get --data-urlencode "query=$1" http://127.0.0.1:9090/api/v1/query |
        sed -n 's/.*"value":\[[^,]*,"\([^"]*\)"\].*/\1/p'
}
answers() { # promql, value
    [[ $(asked "$1") == "$2" ]]
}
has() { # promql: more than nothing
    [[ $(asked "$1 > bool 0") == 1 ]]
}
knows() { # url, text
    curl --silent --fail "$1" | grep --quiet --fixed-strings "$2"
}

scratch=$(mktemp -d)
leave() {
    "${compose[@]}" down --volumes >/dev/null 2>&1 || true
    rm -rf "$scratch"
}
trap leave EXIT
mkdir -p results
"${compose[@]}" up --no-build --detach "${services[@]}"
check "Prometheus scrapes the coordinator" within 60 answers 'sum(up{job="tokenstorm"})' 1
check "Prometheus scrapes the server" within 60 answers 'sum(up{job="server"})' 1
if [[ " ${services[*]} " == *" grafana "* ]]; then
    check "Grafana has the dashboards" within 60 knows 'http://127.0.0.1:3000/api/search?type=dash-db' tokenstorm
else
    echo "grafana: skipped, $grafana is not to be had"
fi
code=$("$engine" wait "$("${compose[@]}" ps --all --quiet coordinator)")
# A busy machine may make the run INVALID (4): its series are there all the same.
check "the run reached its end, with exit code $code" test "$code" == 0 -o "$code" == 4
due='max_over_time(sum(tokenstorm_requests_due_total)[5m:1s])'
check "the fleet's series are there: $(asked "$due") requests due" has "$due"
check "its workers are: $(asked 'max_over_time(sum(tokenstorm_workers_expected)[5m:1s])')" \
    has 'max_over_time(sum(tokenstorm_workers_expected)[5m:1s])'
tokens='max_over_time(sum(vllm:generation_tokens_total)[5m:1s])'
check "the server's series are there: $(asked "$tokens") tokens generated" has "$tokens"
"${compose[@]}" logs --no-log-prefix coordinator | tail -n 8
echo "$passed passed, $failed failed"
((failed == 0))
