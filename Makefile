# Everything works in a fresh clone with Python >= 3.11 (venv, pip), git and make, as root or not.
# What is needed is installed into .venv on first use; PYTHON=... names the interpreter to use.

.DEFAULT_GOAL := help
.PHONY: help demo test check lint types layers format bench docs lock clean

BIN := .venv/bin
READY := .venv/.ready
WORKERS ?= 2
ARGS ?=

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): tools/setup.sh requirements-dev.txt pyproject.toml $(wildcard packages/*/pyproject.toml)
	@sh tools/setup.sh
	@touch $@

demo: $(READY) ## Run the main example: a brief of a document, with live progress
	@sh tools/demo.sh

test: $(READY) ## Run all tests on two workers (ARGS='-k name' for some of them)
	@sh tools/system.sh
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

check: lint types layers ## Lint, formatting, types and the direction of imports (-k: go on after a fault)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/python -m pytest -q tests/test_layers.py

format: $(READY) ## Format the sources and repair what the linter can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: $(READY) ## Measure loopkit beside its peers and print a table of ratios
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(READY) ## Write the generated reference pages anew
	$(BIN)/python tools/docs.py $(ARGS)

lock: $(READY) ## Resolve the dependencies anew into requirements-dev.txt
	@sh tools/lock.sh $(ARGS)

clean: ## Delete what make and the tests made, .venv included
	rm -rf .venv .out dist packages/*/dist .coverage htmlcov .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
