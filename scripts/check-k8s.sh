#!/usr/bin/env bash
# Renders every overlay, the chart and what scripts/k8s-run.sh would apply, and checks them (scripts/check-k8s.py).
#
# It needs kubectl, and a Python with kubernetes-validate and helm-python-sdk: that of the `kubernetes-validate` on the
# path. `--missing` prints the first of them that is not there, for the gate to skip this step.
#
# usage: scripts/check-k8s.sh [--missing]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python_of_the_validator() {
    local program
    program=$(command -v kubernetes-validate) || return 1
    # A program that pip installs names its own interpreter first.
    head -n 1 "$(readlink -f "$program")" | sed -n 's/^#!//p'
}

missing() {
    command -v kubectl >/dev/null || { echo kubectl; return; }
    python=$(python_of_the_validator) || { echo kubernetes-validate; return; }
    "$python" -c 'import helm_python, kubernetes_validate, yaml' 2>/dev/null || echo helm-python-sdk
}

lacking=$(missing)
if [[ ${1:-} == --missing ]]; then
    echo "$lacking"
    exit 0
fi
[[ -z $lacking ]] || { echo "error: $lacking is not installed" >&2; exit 1; }
exec "$(python_of_the_validator)" scripts/check-k8s.py
