# `make` alone lists the targets. Another Python: `make test PYTHON=python3.12`.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
LITELLM := build/litellm

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-litellm lint check bench lock clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: $(READY) ## build .venv with the locked versions

demo: setup ## the whole stack with simulated model servers, OpenAI endpoint on 127.0.0.1:8080
	@exec $(BIN)/igw up -f examples/quickstart

test: setup ## every test that needs no cluster and no GPU
	@$(BIN)/python -m pytest

test-litellm: setup $(LITELLM)/.ready ## LiteLLM's proxy in front of igw; it gets an environment of its own, 750 MB
	@$(BIN)/python -m pytest tests/examples/test_litellm.py

lint: setup ## style, formatting, types, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "not formatted: run $(BIN)/ruff format ." >&2; exit 1; }
	@$(BIN)/mypy --strict src
	@$(BIN)/lint-imports

check: lint $(LITELLM)/.ready test ## what continuous integration runs; with the test of LiteLLM

bench: setup ## the benchmarks: a table and build/bench.json
	@$(BIN)/python -m benchmarks

LOCK := --generate-hashes --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-header --no-annotate

lock: ## write the locks anew: of pyproject.toml, and of LiteLLM's proxy (needs uv)
	uv pip compile pyproject.toml --all-extras --group dev $(LOCK) -o requirements.lock
	uv pip compile examples/litellm/requirements.in $(LOCK) -o examples/litellm/requirements.lock

clean: ## remove everything the targets made
	rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache src/*.egg-info
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Why PYTHON cannot build the environment, in one sentence; empty when it can.
OBSTACLE = $(shell \
  command -v '$(PYTHON)' >/dev/null 2>&1 || { \
    echo "igw needs Python 3.11 or newer and there is no '$(PYTHON)' here: install it or name one with PYTHON=/path/to/python3"; exit; }; \
  '$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || { \
    echo "igw needs Python 3.11 or newer and '$(PYTHON)' is $$('$(PYTHON)' --version 2>&1 | head -n 1): name a newer one with PYTHON=/path/to/python3"; exit; }; \
  '$(PYTHON)' -c 'import ensurepip, venv' >/dev/null 2>&1 || \
    echo "'$(PYTHON)' cannot make virtual environments: install its venv module (on Debian and Ubuntu: apt install python3-venv)")

# The stamp comes last, so a set-up that was cut off is done again.
$(READY): requirements.lock pyproject.toml
	@$(if $(OBSTACLE),$(error $(OBSTACLE)))
	@echo "setting up .venv (once, a minute or two)"
	@'$(PYTHON)' -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

$(LITELLM)/.ready: examples/litellm/requirements.lock | setup
	@echo "setting up $(LITELLM) (once, a minute)"
	@'$(PYTHON)' -m venv --clear $(LITELLM)
	@$(LITELLM)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@
