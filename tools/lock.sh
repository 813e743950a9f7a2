#!/bin/sh
# Resolves all dependencies again and writes them with their hashes to requirements-dev.txt, and those of the environments
# of agent frameworks beside their lists. uv.lock itself is not committed: it holds the registry's addresses.
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

# compile NAME [OPTION]...: tests/frameworks/NAME.in and loopkit with these options
compile() {
    name=$1
    shift
    {
        echo "# What \`make frameworks\` installs into .venv-$name. Written by \`make lock\` from $name.in; do not edit."
        .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
            "tests/frameworks/$name.in" packages/loopkit/pyproject.toml --extra testing "$@"
    } >"tests/frameworks/$name.txt.new"
    mv "tests/frameworks/$name.txt.new" "tests/frameworks/$name.txt"
}
compile frameworks --extra llm
compile llama-index

if grep -n '://' requirements-dev.txt tests/frameworks/*.txt; then
    echo "the files of pinned requirements must not hold addresses" >&2
    exit 1
fi
