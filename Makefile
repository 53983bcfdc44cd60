# Every target installs what it needs. It takes Python 3.11 and make; no root, no Docker, no Java.
#   make demo ARGS="--regions us,eu,asia"    make test ARGS="-k outbox"    make help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help demo test test-regions test-secure drill lint check stack bench chaos faults docs sbom clean lock system-packages kustomize promtool faketime
ARGS ?=
# Another version of Python beside the first: make check VENV=.venv-3.13 PYTHON=python3.13
VENV ?= .venv
PYTHON ?=

BIN := $(VENV)/bin
READY := $(VENV)/.installed
JARS := .cache/.stack-jars
TEST_JARS := .cache/.test-jars
# System packages for some tests: nginx as a point of presence, a browser, a second Kafka client.
SYSTEM := nginx:nginx-light chromium:chromium kcat:kcat

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 14

demo: $(READY) $(JARS) ## start a region, send triggers, audit; ARGS are those of `notify-streams demo`
	@$(BIN)/notify-streams demo $(ARGS)

test: $(READY) $(JARS) $(TEST_JARS) system-packages kustomize promtool ## the tests of every part, on real services; ARGS are pytest's
	@$(BIN)/python -m pytest -n 3 -m "not e2e and not drill" $(ARGS)

test-regions: $(READY) $(JARS) $(TEST_JARS) system-packages promtool ## the tests of whole regions, end to end; ARGS are pytest's
	@$(BIN)/python -m pytest -n 2 -m "e2e and not drill" tests/e2e $(ARGS)

test-secure: $(READY) $(JARS) $(TEST_JARS) ## the end-to-end tests on TLS, passwords and rights; ARGS are pytest's
	@NOTIFY_TEST_SECURE=1 $(BIN)/python -m pytest tests/e2e $(ARGS)

drill: $(READY) $(JARS) promtool faketime ## slow tests: the outage of one of three regions; a backlog with workers that restart
	@$(BIN)/python -m pytest -m drill tests/e2e tests/faults tests/integration/benchmarks tests/unit/admin tests/contract/providers $(ARGS)

lint: $(READY) ## lint, format, types, import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

check: lint kustomize promtool ## `make lint` and the unit tests; ARGS are pytest's
	@$(BIN)/python -m pytest -q tests/unit $(ARGS)

stack: $(READY) $(JARS) ## start the local services; ARGS="--regions us,eu --members 3"
	@$(BIN)/python -m devtools.stack up $(ARGS)

bench: $(READY) $(JARS) ## throughput and latency, beside a baseline and the goals
	@$(BIN)/notify-streams bench $(ARGS)

chaos: $(READY) $(JARS) ## kill processes under load, send hostile records, then check the invariants
	@$(BIN)/notify-streams chaos $(ARGS)

faults: $(READY) $(JARS) promtool faketime ## inject twelve faults: who names each of them, and how soon
	@$(BIN)/notify-streams faults $(ARGS)

docs: $(READY) ## the site of docs/: build/site; a broken link is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)

sbom: $(READY) ## what the image holds, as CycloneDX: build/sbom.cdx.json
	@mkdir -p build
	@$(BIN)/python -m devtools.sbom build/sbom.cdx.json

clean: ## stop the local services; remove all that make created, downloads too
	@if [ -x $(BIN)/python ] && [ -d .stack ]; then find .stack -maxdepth 3 -name state.json | while read -r state; do \
	    NOTIFY_STACK_DIR=$$(dirname "$$state") $(BIN)/python -m devtools.stack down --wipe; done; fi
	@rm -rf .venv .venv-* .cache .stack .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

lock: $(READY) ## pin the dependencies of setup.cfg and the jars: requirements*.lock, requirements-files.sha256, jars.yaml
	@$(BIN)/pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-header --no-annotate --extra stack --extra dev --extra docs --extra tracing setup.cfg \
	    -o requirements.lock
	@echo 'setuptools>=80' | $(BIN)/uv pip compile --quiet --generate-hashes --no-header --no-annotate -c requirements.lock --extra tracing setup.cfg - \
	    -o requirements-runtime.lock
	@printf '%s\n' 'setuptools>=80' setuptools_scm wheel 'cython>=3.1' \
	    | $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-header --no-annotate -c requirements.lock - -o requirements-build.lock
	@mkdir -p build
	@$(BIN)/uv pip compile --quiet --no-deps --universal --format pylock.toml requirements.lock -o build/pylock.toml
	@$(BIN)/python -m devtools.locked_files build/pylock.toml requirements-files.sha256
	@$(BIN)/python -m devtools.stack fetch --pin

# The installation has the list of top-level packages, so a new package is a reason to install again.
$(READY): requirements.lock setup.cfg pyproject.toml $(wildcard */__init__.py)
	@python="$(PYTHON)"; [ -n "$$python" ] || for name in python3.11 python3 python3.12 python3.13; do \
	    if command -v $$name > /dev/null && $$name -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; \
	    then python=$$name; break; fi; done; \
	if [ -z "$$python" ]; then \
	    echo "make: this needs Python 3.11 or newer with venv (Debian: python3.11 python3.11-venv); none was found" >&2; exit 1; fi; \
	echo "installing the pinned dependencies into $(VENV) (first time: about a minute)" >&2; \
	$(BIN)/python -m pip --version > /dev/null 2>&1 || $$python -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e . > $(VENV)/install.log 2>&1 \
	    || { cat $(VENV)/install.log >&2; exit 1; }
	@touch $@

$(JARS): devtools/stack/jars.yaml | $(READY)
	@echo "downloading Kafka and DynamoDB Local (first time: about half a minute)" >&2
	@$(BIN)/python -m devtools.stack fetch
	@touch $@

$(TEST_JARS): devtools/stack/jars.yaml devtools/npm.py | $(READY)
	@$(BIN)/python -m devtools.stack fetch kafka-tools pushy strimzi
	@$(BIN)/python -c 'from devtools.npm import packages; packages()'
	@touch $@

system-packages:
	@missing=""; for pair in $(SYSTEM); do \
	    PATH="$$PATH:/usr/sbin" command -v $${pair%%:*} > /dev/null || missing="$$missing $${pair##*:}"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
	    echo "installing$$missing" >&2; export DEBIAN_FRONTEND=noninteractive; \
	    { apt-get update -qq && apt-get install -qq -y --no-install-recommends $$missing; } > /tmp/notify-apt.$$$$ 2>&1 \
	        || { tail -5 /tmp/notify-apt.$$$$ >&2; echo "not installed:$$missing" >&2; }; rm -f /tmp/notify-apt.$$$$; \
	else echo "missing, so the tests that need them are skipped:$$missing (as root: apt-get install$$missing)" >&2; fi

# The tests of k8s/ need it.
kustomize:
	@scripts/kustomize

# The tests of monitoring/ need it.
promtool:
	@scripts/promtool

# One of the faults needs it.
faketime:
	@scripts/faketime
