#!/bin/sh
# Makes .venv with everything that developing and testing need: `make` calls it when a pin has changed.
# Needs Python >= 3.11 with venv and pip; $PYTHON names another interpreter.
set -eu
cd "$(dirname "$0")/.."

UV_VERSION=0.13.9
export UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS="${UV_NO_PROGRESS:-}"
[ -n "$UV_NO_PROGRESS" ] || unset UV_NO_PROGRESS

say() { printf '==> %s\n' "$*" >&2; }
fail() { printf '\nloopkit: %s\n' "$1" >&2; shift; for line in "$@"; do printf '         %s\n' "$line" >&2; done; exit 1; }

recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        recent "$PYTHON" || fail "PYTHON=$PYTHON is not a Python 3.11 or newer."
        printf '%s' "$PYTHON"
        return
    fi
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if recent "$candidate"; then printf '%s' "$candidate"; return; fi
    done
    found=$(python3 --version 2>/dev/null || echo "no python3")
    fail "Python 3.11 or newer is needed, and this machine has $found." \
        "Install one, or name it: make PYTHON=/path/to/python3.12 ..."
}

# Two of these at once in one tree would spoil each other.
mkdir -p .venv
if command -v flock >/dev/null 2>&1; then
    exec 9>.venv/.setup-lock
    flock 9
fi

if ! recent .venv/bin/python || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    "$python" -c 'import venv, ensurepip' 2>/dev/null || fail \
        "$("$python" --version) here has no venv or no pip." \
        "On Debian and Ubuntu: apt-get install python3-venv"
    say "Making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
fi

if [ "$(.venv/bin/uv --version 2>/dev/null | cut -d' ' -f2)" != "$UV_VERSION" ]; then
    say "Installing uv $UV_VERSION into .venv"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION"
fi

# uv does not read pip's settings; a machine that names a mirror there means it for both.
if [ -z "${UV_DEFAULT_INDEX:-}" ]; then
    mirror=${PIP_INDEX_URL:-$(.venv/bin/python -m pip config get global.index-url 2>/dev/null || true)}
    if [ -n "$mirror" ]; then export UV_DEFAULT_INDEX="$mirror"; fi
fi

say "Installing the pinned dependencies (requirements-dev.txt)"
.venv/bin/uv pip install --quiet --python .venv/bin/python --require-hashes -r requirements-dev.txt
say "Installing loopkit, loopkit-web and loopkit-cli from this tree"
.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation \
    -e packages/loopkit -e packages/loopkit-web -e packages/loopkit-cli
# a dependency that is in a pyproject.toml but not in requirements-dev.txt shows here: `make lock`
.venv/bin/uv pip check --python .venv/bin/python
