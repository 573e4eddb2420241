#!/usr/bin/env bash
# The README's examples, as part of the gate's long mode.
exec "$(dirname "${BASH_SOURCE[0]}")/../readme-examples.sh"
