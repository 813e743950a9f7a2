#!/bin/sh
# Resolves all dependencies anew and writes them with their hashes to requirements-dev.txt.
# uv.lock itself is not kept: it holds the registry's addresses.
set -eu
cd "$(dirname "$0")/.."
export UV_PYTHON_DOWNLOADS=never

.venv/bin/uv lock --quiet "$@"
{
    echo "# What \`make\` installs into .venv: every third-party package of the workspace, pinned, with hashes."
    echo "# Written by \`make lock\` from the pyproject.toml files; do not edit."
    .venv/bin/uv export --quiet --frozen --no-emit-workspace --all-extras --all-groups --no-header --no-annotate
} >requirements-dev.txt.new
mv requirements-dev.txt.new requirements-dev.txt
if grep -n '://' requirements-dev.txt; then
    echo "requirements-dev.txt must not hold addresses" >&2
    exit 1
fi
