#!/bin/sh
# Creates the environment $VENV (default .venv) with everything that developing and testing need; `make` calls it when a
# pin has changed. Needs Python >= 3.11 with venv and pip; $PYTHON names another interpreter. With LOWEST=1 each direct
# dependency of the packages is replaced by the lowest version that they allow (tools/lowest.py). $REQUIREMENTS names
# another file of pins, and $PACKAGES which packages of this tree are installed with them.
set -eu
cd "$(dirname "$0")/.."

UV_VERSION=0.13.9
VENV=${VENV:-.venv}
REQUIREMENTS=${REQUIREMENTS:-requirements-dev.txt}
PACKAGES=${PACKAGES:-loopkit loopkit-web loopkit-cli}
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

# Two of these at once in one tree would overwrite each other's files.
mkdir -p "$VENV"
if command -v flock >/dev/null 2>&1; then
    exec 9>"$VENV/.setup-lock"
    flock 9
fi

if ! recent "$VENV/bin/python" || ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    "$python" -c 'import venv, ensurepip' 2>/dev/null || fail \
        "$("$python" --version) here has no venv or no pip." \
        "On Debian and Ubuntu: apt-get install python3-venv"
    say "Creating $VENV with $("$python" --version)"
    "$python" -m venv --clear "$VENV"
fi

if [ "$("$VENV/bin/uv" --version 2>/dev/null | cut -d' ' -f2)" != "$UV_VERSION" ]; then
    say "Installing uv $UV_VERSION into $VENV"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION"
fi

# uv does not read pip's settings; a mirror that is set there is meant for both.
if [ -z "${UV_DEFAULT_INDEX:-}" ]; then
    mirror=${PIP_INDEX_URL:-$("$VENV/bin/python" -m pip config get global.index-url 2>/dev/null || true)}
    if [ -n "$mirror" ]; then export UV_DEFAULT_INDEX="$mirror"; fi
fi

say "Installing the pinned dependencies ($REQUIREMENTS)"
"$VENV/bin/uv" pip install --quiet --python "$VENV/bin/python" --require-hashes -r "$REQUIREMENTS"
say "Installing from this tree: $PACKAGES"
for package in $PACKAGES; do
    "$VENV/bin/uv" pip install --quiet --python "$VENV/bin/python" --no-deps --no-build-isolation -e "packages/$package"
done
# fails for a dependency that is in a pyproject.toml but not in the pins: run `make lock`
if [ -n "${LOWEST:-}" ]; then
    say "Replacing the direct dependencies by the lowest versions that the packages allow"
    "$VENV/bin/python" tools/lowest.py |
        "$VENV/bin/uv" pip compile --quiet --python "$VENV/bin/python" --resolution lowest-direct --no-header - \
            >"$VENV/lowest.txt"
    "$VENV/bin/uv" pip install --quiet --python "$VENV/bin/python" -r "$VENV/lowest.txt"
fi
[ -n "${LOWEST:-}" ] || "$VENV/bin/uv" pip check --python "$VENV/bin/python"
