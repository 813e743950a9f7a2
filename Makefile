# Everything works in a fresh clone with Python >= 3.11 (venv, pip), git and make, as root or not.
# What is needed is installed into .venv on first use. PYTHON=... names another interpreter, with an environment of its own.

.DEFAULT_GOAL := help
.PHONY: help demo test lowest frameworks check lint types layers format bench docs lock release clean

# An interpreter that is named has an environment of its own: make test PYTHON=python3.13
VENV ?= $(if $(PYTHON),.venv-$(notdir $(PYTHON)),.venv)
export VENV
# Tests start thousands of interpreters, which compile every module anew where this is set: half of the CPU of a command.
unexport PYTHONDONTWRITEBYTECODE
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# More than the cores of a small machine, since many tests wait.
WORKERS ?= 4
ARGS ?=

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): tools/setup.sh requirements-dev.txt pyproject.toml $(wildcard packages/*/pyproject.toml)
	@sh tools/setup.sh
	@touch $@

demo: $(READY) ## Run the main example: a brief of a document, with live progress
	@sh tools/demo.sh

test: $(READY) ## Run all tests on four workers (ARGS='-k name' for some of them)
	@sh tools/system.sh
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

lowest: ## Run all tests with the lowest versions of the direct dependencies (ARGS as for test)
	@$(MAKE) --no-print-directory test VENV=.venv-lowest LOWEST=1

# Environments of their own for packages that are large, or do not go together; without loopkit-web and loopkit-cli.
FRAMEWORKS := .venv-frameworks .venv-llama-index

$(FRAMEWORKS:%=%/.ready): .venv-%/.ready: tests/frameworks/%.txt tools/setup.sh packages/loopkit/pyproject.toml
	@VENV=.venv-$* REQUIREMENTS=$< PACKAGES=loopkit sh tools/setup.sh
	@touch $@

frameworks: $(FRAMEWORKS:%=%/.ready) ## Test loopkit with agent frameworks and evaluator libraries (ARGS as for test)
	@for venv in $(FRAMEWORKS); do \
		$$venv/bin/python -m pytest --confcutdir=tests/frameworks -W ignore tests/frameworks $(ARGS) || exit 1; \
	done

check: lint types layers ## Lint, formatting, types and the direction of imports (-k: continue after a failure)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/python -m pytest -q tests/test_layers.py

format: $(READY) ## Format the sources and apply the linter's fixes
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: $(READY) ## Measure loopkit beside its peers and print a table of ratios
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(READY) ## Generate the reference pages again
	$(BIN)/python tools/docs.py $(ARGS)

lock: $(READY) ## Resolve the dependencies again into requirements-dev.txt
	@sh tools/lock.sh $(ARGS)

release: $(READY) ## Print what releasing VERSION=1.2.0 would do; APPLY=1 does it, and publishes nothing
	@test -n '$(VERSION)' || { echo 'Name the version: make release VERSION=1.2.0' >&2; exit 2; }
	@$(BIN)/python -m tools.release '$(VERSION)' $(if $(filter 1,$(APPLY)),--apply)

clean: ## Delete everything that make and the tests created, .venv included
	rm -rf .venv .venv-* .out dist packages/*/dist .coverage htmlcov .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
