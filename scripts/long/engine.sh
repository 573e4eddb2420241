# shellcheck shell=bash
# Sourced by the programs beside it that need containers; no program itself.

# The engine whose daemon answers here; nothing where none does.
container_engine() {
    local candidate
    for candidate in docker podman; do
        if command -v "$candidate" >/dev/null && "$candidate" info >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
}

# How that engine runs compose files, a word a line; nothing where there is no compose.
compose_of() { # engine
    if "$1" compose version >/dev/null 2>&1; then
        printf '%s\n' "$1" compose
    elif command -v docker-compose >/dev/null; then
        echo docker-compose
    fi
}
