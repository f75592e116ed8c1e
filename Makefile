# Works with nothing but make and Python 3.11 or newer, in any directory, for any user.
# Names of files are relative and without blanks, so the directory's own name does not matter.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run demo check test lint types format unit bench bench-accuracy soak lock clean

# The first Python that is new enough and can make a virtual environment. The system's own comes
# first: distributions build theirs with optimisation, which saves a tenth of a request's CPU.
PYTHON ?= $(shell for python in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	>/dev/null 2>&1 && echo $$python && break; done)
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip --disable-pip-version-check install --quiet
RUNTIME := .venv/.runtime
DEVELOPMENT := .venv/.development
WORKERS ?= 2

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile

run: $(RUNTIME) ## Start the proxy on 127.0.0.1:8080
	@$(BIN)/weighbridge serve

demo: $(DEVELOPMENT) ## Show the main job: no account, no network
	@$(BIN)/weighbridge demo

check: $(RUNTIME) ## Check settings and prices
	@$(BIN)/weighbridge check

test: lint types unit ## Run everything that must hold: lint, types, tests

lint: $(DEVELOPMENT)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(DEVELOPMENT)
	$(BIN)/mypy

# What covers the pure parts runs measured, everything else without that: measuring doubles its time.
# What needs the machine for itself runs after the rest; no such test (exit status 5) is fine.
COVERING := tests/core tests/invoices tests/ledger tests/periods tests/pricing tests/tokens tests/wire
unit: $(DEVELOPMENT)
	$(BIN)/coverage erase
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup --cov --cov-report= \
		-m "not alone and not bench and not soak" $(COVERING)
	$(BIN)/coverage report --include='proxy/core/*,proxy/wire/*' --fail-under=100 --skip-covered
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup -m "not alone and not bench and not soak" \
		$(COVERING:%=--ignore=%)
	$(BIN)/pytest -m "alone and not bench and not soak" || test $$? -eq 5

format: $(DEVELOPMENT) ## Format the source
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(DEVELOPMENT) ## Measure speed; prints the README's table
	$(BIN)/python -m tests.bench

bench-accuracy: $(DEVELOPMENT) ## Measure the estimates against recorded traffic
	$(BIN)/python -m tests.bench.accuracy

soak: $(DEVELOPMENT) ## Run the long tests: crashes, faults, half an hour of load
	$(BIN)/pytest -m soak -rP -o faulthandler_timeout=0

lock: ## Pin the newest allowed versions again (needs uv)
	uv pip compile --quiet $(PINS) --group build pyproject.toml -o requirements.lock
	uv pip compile --quiet $(PINS) --group build --group dev -c requirements.lock \
		pyproject.toml -o tests/requirements.lock

PINS := --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command 'make lock'

clean: ## Take away what was made here, but never a ledger
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis htmlcov .coverage*
	find proxy tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "make: weighbridge needs Python 3.11 or newer with its venv" \
		"module: install it (Debian: apt install python3-venv), or name it: make PYTHON=..." \
		>&2; exit 1; }
	$(PYTHON) -m venv .venv

$(RUNTIME): requirements.lock pyproject.toml | $(BIN)/python
	$(INSTALL) --require-hashes -r requirements.lock
	$(INSTALL) --no-build-isolation --no-deps -e .
	@touch $@

$(DEVELOPMENT): tests/requirements.lock $(RUNTIME)
	$(INSTALL) --require-hashes -r tests/requirements.lock
	@touch $@
