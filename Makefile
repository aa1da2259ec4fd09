# What a fresh machine needs: make, and a Python of at least 3.11.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
BIN := $(VENV)/bin
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	if $$python -c '$(NEW_ENOUGH)' 2> /dev/null; then echo $$python; break; fi; done)

.PHONY: help demo test lint bench servers servers-down pictures clean

help:  ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

demo: $(VENV)/installed  ## the audited blog, end to end, on a new SQLite file
	@$(BIN)/migrator demo

test: $(VENV)/installed-dev  ## every test, on SQLite, PostgreSQL, MySQL and MariaDB; starts what it needs
	@$(BIN)/python -m tests $(PYTEST_ARGS)

lint: $(VENV)/installed-dev  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/installed-dev  ## the load proof: BENCH_ARGS='--engine mysql-9.7 --posts 200000'
	@$(BIN)/python -m pip install -qq --editable '.[dev,bench]' >&2
	@$(BIN)/python -W ignore -m tests.benchmarks $(BENCH_ARGS)

servers: $(VENV)/installed-dev  ## start the test servers and keep them: eval "$(make -s servers)"
	@$(BIN)/python -m tests.servers up $(ENGINES)

servers-down: $(VENV)/installed-dev  ## remove the servers that were kept
	@$(BIN)/python -m tests.servers down

pictures: $(VENV)/installed  ## draw docs/img anew: the demo's terminal and, with chromium, the drill's page
	@mkdir -p docs/img; work=$$(mktemp -d); trap 'rm -rf $$work' EXIT; cd $$work; \
	$(abspath $(BIN))/migrator demo --into demo --picture $(CURDIR)/docs/img/demo.svg; \
	chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --force-device-scale-factor=1.5 \
		--window-size=1180,2420 --screenshot=$(CURDIR)/docs/img/drill.png file://$$work/demo/drill.html 2> /dev/null

clean:  ## remove what make made
	rm -rf $(VENV)

$(BIN)/python:
	@if [[ -z "$(PYTHON)" ]]; then echo 'migrator needs Python 3.11 or newer; say which with make PYTHON=...' >&2; exit 1; fi
	@# Debian packs venv apart from Python itself.
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2> /dev/null; then \
		if [[ $$(id -u) == 0 ]] && command -v apt-get > /dev/null; then \
			{ apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-venv; } >&2; \
		else echo 'Python has no venv module here: install python3-venv' >&2; exit 1; fi; fi
	@$(PYTHON) -m venv $(VENV)

# Standard output belongs to what is asked for, so that the lines of `make -s servers` can be evaluated.
$(VENV)/installed: pyproject.toml | $(BIN)/python
	@$(BIN)/python -m pip install -qq --editable . >&2
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(BIN)/python
	@$(BIN)/python -m pip install -qq --editable '.[dev]' >&2
	@touch $@ $(VENV)/installed
