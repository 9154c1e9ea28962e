# Everything here sets itself up from a bare checkout with nothing but Python 3.11 or newer: it makes
# .venv and installs into it, and nothing system-wide. `make` alone lists the targets.

PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11 python,$(shell \
	$(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
VENV := .venv
RUN := $(VENV)/bin/python
# The stamp's name holds the checksum of what decides the environment, so a change installs again.
STAMP = $(VENV)/.$(1)-$(shell cksum < pyproject.toml | cut -d' ' -f1)
DEV := $(call STAMP,dev)
DEMO := $(call STAMP,demo)
SOAK_S ?= 180
# Each process of the tests starts servers of its own, so many processes cost more than they bring.
PARALLEL := -n auto --maxprocesses 4 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo demo-mysql test check lint types format unit compiled test-15 test-313 soak bench profile docs clean
.DELETE_ON_ERROR:

help:  ## List the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "no venv module (Debian: python3-venv)"; exit 1; }

$(DEV): $(VENV)/bin/python
	$(RUN) -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@rm -f $(VENV)/.dev-* && touch $@ $(DEMO)

$(DEMO): $(VENV)/bin/python
	$(RUN) -m pip install --quiet --disable-pip-version-check -e '.[demo]'
	@rm -f $(VENV)/.demo-* && touch $@

demo: $(DEMO)  ## Watch a burst of Lambda-like clients share a few PostgreSQL connections
	@$(RUN) -m proxy demo

demo-mysql: $(DEMO)  ## The same with MySQL or MariaDB: one of this machine, or Docker
	@$(RUN) -m proxy demo --engine mysql

lint: $(DEV)  ## Check style (ruff)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

types: $(DEV)  ## Check types (mypy --strict)
	$(RUN) -m mypy

format: $(DEV)  ## Rewrite the sources in the project's style
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

unit: $(DEV)  ## Run the quick tests: those that need no server
	$(RUN) -m pytest -q $(PARALLEL) --ignore=tests/integration --ignore=tests/differential --ignore=tests/soak

check: lint types unit  ## lint, types and unit: a minute, before each commit

compiled: $(DEV)  ## Compile the hot modules into .cache/compiled and test that copy
	$(RUN) -m tests.support.compiled $(PARALLEL)

test-15: $(DEV)  ## Run the differential and driver tests against the host's PostgreSQL 15
	@if test -x /usr/lib/postgresql/15/bin/postgres; then \
	  TIDEGATE_TEST_POSTGRES_BIN=/usr/lib/postgresql/15/bin $(RUN) -m pytest -q $(PARALLEL) \
	    --ignore=tests/differential/mysql tests/differential tests/integration/test_drivers.py \
	    tests/integration/test_startup.py tests/integration/test_isolation.py; \
	else echo "=== NOT TESTED: this machine has no PostgreSQL 15 ==="; fi

test-313:  ## Run the quick and the driver tests on Python 3.13
	@sh .ci/python313 $(PARALLEL)

test: lint types compiled test-313 test-15  ## Everything, slowest last; TIDEGATE_STRICT=1 forbids skips
	$(RUN) -m pytest -q $(PARALLEL)

soak: $(DEV)  ## 1,000 clients that come, query and vanish, SOAK_S seconds for each server
	TIDEGATE_SOAK_S=$(SOAK_S) $(RUN) -m pytest -q -s tests/soak --timeout=$$(($(SOAK_S) + 180))

BENCH := $(call STAMP,bench)
BENCH_ARGS ?=

$(BENCH): $(VENV)/bin/python
	$(RUN) -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@rm -f $(VENV)/.bench-* && touch $@

bench: $(BENCH)  ## Measure against every peer found; BENCH_ARGS=--quick for a few minutes
	$(RUN) -m benchmarks $(BENCH_ARGS)

profile: $(BENCH)  ## Write a flame graph and syscalls per transaction of the proxy under load
	$(RUN) -m benchmarks profile

docs: $(DEV)  ## Write docs/configuration.md from the settings' own descriptions
	$(RUN) -m proxy.config.document > docs/configuration.md

clean:  ## Remove the environment and everything built
	rm -rf $(VENV) .cache build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find proxy -name '*.so' -delete
