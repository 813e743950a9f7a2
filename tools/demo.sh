#!/bin/sh
# The main example on a real document of this repository, with live progress. `make demo` calls it.
set -eu
cd "$(dirname "$0")/../examples/brief"
PATH=$(cd ../../.venv/bin && pwd):$PATH
export PATH

loopkit-cli run brief --input document=@../../README.md
