# The one door. `make help` lists what there is; every target sets up what it needs.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
export UV_PYTHON_DOWNLOADS := never
JOBS ?= 3

.PHONY: help setup demo run test lint types docs bench check-wheel clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(UV):
	@scripts/bootstrap "$(PYTHON)" "$(VENV)"

$(VENV)/.run-ready: pyproject.toml uv.lock | $(UV)
	@$(UV) sync --frozen --extra server --no-dev --inexact --quiet
	@touch $@

$(VENV)/.dev-ready: pyproject.toml uv.lock | $(UV)
	@$(UV) sync --frozen --extra server --quiet
	@touch $@ $(VENV)/.run-ready

setup: $(VENV)/.dev-ready ## Install everything that development and tests need
	@scripts/system-packages

demo: $(VENV)/.run-ready ## Start the demo: sign-in, three protected apps, people to be
	@$(BIN)/limen demo $(ARGS)

run: $(VENV)/.run-ready ## Serve the bundle of this folder (limen up)
	@$(BIN)/limen up $(ARGS)

test: setup ## Lint, types, imports, tests, docs, the wheel; COVERAGE=1 counts lines too
	@scripts/test

lint: $(VENV)/.dev-ready ## Style, types, import layers
	@$(BIN)/ruff check src tests benchmarks
	@$(BIN)/ruff format --check src tests benchmarks
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(VENV)/.dev-ready ## Build the documentation into site/
	@$(BIN)/python scripts/reference.py --check
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: setup ## Measure: one table of ratios from one run
	@$(BIN)/python -m benchmarks $(ARGS)

check-wheel: $(VENV)/.dev-ready ## Build the wheel; run the demo's tour from it in an empty environment
	@scripts/check-wheel

clean: ## Remove what was built, not what you wrote
	@rm -rf $(VENV) dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
