#!/usr/bin/env bash
# A million records gathered from four workers: complete by count and checksum, the coordinator's memory flat.
#
# usage: scripts/long/records.sh [arguments of records.py]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

cargo build --quiet --locked --release
python=python3
own=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/tokenstorm/python/bin/python
[[ -x $own ]] && python=$own
exec "$python" scripts/long/records.py --binary "${CARGO_TARGET_DIR:-target}/release/tokenstorm" "$@"
