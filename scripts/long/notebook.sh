#!/usr/bin/env bash
# Runs docs/analysis.ipynb on the results of a run of configs/stages.yaml, as part of the gate's long mode: what the
# notebook says of the files must hold, and each of its cells must run. Jupyter and pandas come from PyPI into a virtual
# environment under the user's cache; without them it is skipped with a line.
#
# usage: scripts/long/notebook.sh [--write]
#   --write  keeps the outputs in docs/analysis.ipynb
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
environment=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/tokenstorm/notebook
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

installed() {
    "$environment/bin/python" -c 'import nbclient, nbformat, ipykernel, pandas, matplotlib' 2>/dev/null
}

install() {
    python3 -m venv "$environment" &&
        "$environment/bin/pip" install --quiet --disable-pip-version-check \
            'nbclient>=0.10,<1' 'nbformat>=5,<6' 'ipykernel>=6,<8' 'pandas>=2,<4' 'matplotlib>=3.8,<4'
}

if ! installed && ! { install && installed; }; then
    echo "skipped: Jupyter and pandas cannot be installed from here"
    exit 0
fi

# A busy machine may make the run INVALID (4): its files are as good for this.
code=0
cargo run --quiet --locked -- run --config configs/stages.yaml --output "$scratch/results" >"$scratch/table" 2>&1 || code=$?
((code == 0 || code == 4)) || { cat "$scratch/table" && exit 1; }
TOKENSTORM_RESULTS=$scratch/results IPYTHONDIR=$scratch JUPYTER_RUNTIME_DIR=$scratch/jupyter \
    "$environment/bin/python" scripts/run-notebook.py docs/analysis.ipynb "$scratch/out.ipynb"
echo "1 passed, 0 failed"
[[ ${1:-} != --write ]] || cp "$scratch/out.ipynb" docs/analysis.ipynb
