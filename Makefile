# `make` alone lists the targets. Another Python: `make test PYTHON=python3.12`.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
LITELLM := build/litellm
KUBE := build/kube
VLLM := build/vllm
PROMETHEUS := build/prometheus

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-litellm test-vllm test-observability chromium kube test-kube manifests lint check bench lock clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile

setup: $(READY) ## build .venv with the locked versions

demo: setup ## the whole stack with simulated model servers, OpenAI endpoint on 127.0.0.1:8080, dashboard on 127.0.0.1:8081
	@exec $(BIN)/igw up -f examples/quickstart

test: setup ## every test that needs no cluster and no GPU
	@$(BIN)/python -m pytest --ignore=tests/kube

test-litellm: setup $(LITELLM)/.ready ## LiteLLM's proxy in front of igw; it gets an environment of its own, 750 MB
	@$(BIN)/python -m pytest tests/examples/test_litellm.py

test-vllm: setup $(VLLM)/.ready ## two real vLLM servers on the CPU behind igw; they get an environment of their own, 5.5 GB
	@$(BIN)/python -m pytest tests/vllm

test-observability: setup $(PROMETHEUS)/.ready ## alert rules and dashboards on a real Prometheus: Debian's package, unpacked
	@$(BIN)/python -m pytest tests/observability

chromium: ## Debian's Chromium and its driver, for the tests of the dashboard (needs root, unless they are there)
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || \
	  { apt-get update -qq && apt-get install -qq --no-install-recommends chromium chromium-driver; }

kube: ## build kube-apiserver, etcd, kubectl and Helm from their sources (needs Go 1.23; once, several minutes)
	@tests/kube/go/build $(KUBE)

test-kube: setup kube ## the tests against a real Kubernetes API server and etcd, on loopback
	@$(BIN)/python -m pytest tests/kube

manifests: setup kube ## render the chart anew for `igw manifests`
	@$(BIN)/python -m tests.kube.helm

lint: setup ## style, formatting, types, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "not formatted: run $(BIN)/ruff format ." >&2; exit 1; }
	@$(BIN)/mypy --strict src
	@$(BIN)/lint-imports

# What Debian has of it, where this is Debian; Chromium is installed, which only root may do. Tests that miss theirs are skipped and say so.
DEBIAN := $(if $(shell command -v apt-get 2>/dev/null),$(PROMETHEUS)/.ready $(if $(filter 0,$(shell id -u)),chromium))

check: lint $(LITELLM)/.ready $(DEBIAN) test ## what continuous integration runs; with LiteLLM, Prometheus and Chromium where they are to be had

bench: setup ## the benchmarks: a table and build/bench.json
	@$(BIN)/python -m benchmarks

LOCK := --generate-hashes --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-header --no-annotate

lock: ## write the locks anew: of pyproject.toml, of the image, of LiteLLM's proxy and of vLLM (needs uv)
	uv pip compile pyproject.toml --all-extras --group dev $(LOCK) -o requirements.lock
	uv pip compile pyproject.toml --extra redis --extra tokenizers -c requirements.lock $(LOCK) -o image.lock
	uv pip compile examples/litellm/requirements.in $(LOCK) -o examples/litellm/requirements.lock
	uv pip compile tests/vllm/requirements.in --override tests/vllm/overrides.txt --python-platform x86_64-manylinux_2_28 \
	  $(filter-out --universal,$(LOCK)) -o tests/vllm/requirements.lock

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

# The stamp comes last, so a set-up that was cut off is done again. xds-protos lays older files over those of opentelemetry-proto: hence that once more.
$(READY): requirements.lock pyproject.toml
	@$(if $(OBSTACLE),$(error $(OBSTACLE)))
	@echo "setting up .venv (once, a minute or two)"
	@'$(PYTHON)' -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@mkdir -p build && awk '/^opentelemetry-proto==/,!/\\$$/' requirements.lock > build/over.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --force-reinstall -r build/over.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

$(LITELLM)/.ready: examples/litellm/requirements.lock | setup
	@echo "setting up $(LITELLM) (once, a minute)"
	@'$(PYTHON)' -m venv --clear $(LITELLM)
	@$(LITELLM)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# What the lock leaves out on purpose would be asked for again: hence no dependencies.
$(VLLM)/.ready: tests/vllm/requirements.lock | setup
	@echo "setting up $(VLLM) (once, three minutes)"
	@'$(PYTHON)' -m venv --clear $(VLLM)
	@$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $<
	@touch $@

# Unpacked, not installed: that needs no root, and starts no service on a port that igw has by default.
$(PROMETHEUS)/.ready:
	@command -v apt-get >/dev/null || { echo "tests/observability needs Debian's package prometheus, and there is no apt-get here: install Prometheus, then run $(BIN)/python -m pytest tests/observability" >&2; exit 1; }
	@mkdir -p $(PROMETHEUS)
	@cd $(PROMETHEUS) && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; }
	@cd $(PROMETHEUS) && for package in prometheus_*.deb; do dpkg-deb -x $$package . && rm $$package; done
	@touch $@
