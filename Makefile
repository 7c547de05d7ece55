# make apply    protect a sample directory on this machine, from nothing
# make test     install what the tests need and run them all
# make check    lint, types and import rules only; under a minute
# make bench    measure against restic and borg
# make soak     random histories for hours, every moment brought back and compared; ARGS="--hours 8", ARGS="--seed 5"
# make lab      four hosts with systemd and sshd in a network of their own; ARGS=down, ARGS="exec sf-db1", ...
# make wheels   fetch what agents on other Pythons and machines need (ARGS=node: nodes)
# make lock     choose new versions of the dependencies (needs uv)

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
BIN := .venv/bin
BCSCTL := $(BIN)/bcsctl

.PHONY: help venv apply test check lint bench soak lab wheels lock clean

help:
	@sed -n 's/^# make/  make/p' Makefile

venv: .venv/.runtime

.venv/.runtime: requirements/runtime.txt pyproject.toml scripts/make-venv
	@scripts/make-venv requirements/runtime.txt
	@touch $@

.venv/.test: requirements/test.txt .venv/.runtime
	@scripts/make-venv requirements/test.txt
	@touch $@

apply: venv
	@scripts/quickstart

test: .venv/.test
	@scripts/test-packages
	@$(MAKE) --no-print-directory lint
	@scripts/run-tests $(ARGS)

check: .venv/.test
	@$(MAKE) --no-print-directory lint

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.test
	@scripts/test-packages
	$(BIN)/python -m tests.bench $(ARGS)

soak: .venv/.test
	@scripts/test-packages
	@$(BIN)/python -m tests.histories $(ARGS)

lab: .venv/.test
	@scripts/test-packages
	@$(BIN)/python -m tests.lab $(or $(ARGS),up)

wheels: venv
	$(BIN)/python -m engine.deploy.wheels "$${BCS_HOME:-$$([ "$$(id -u)" = 0 ] && echo /var/lib/bcs || echo "$$HOME/.local/share/bcs")}" $(ARGS)

# The lock files name every package with its hashes, for all Python versions and platforms at once.
LOCK := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-config \
	--no-emit-index-url --no-annotate --no-header --quiet

lock:
	$(LOCK) --output-file requirements/runtime.txt
	$(LOCK) --extra test --constraints requirements/runtime.txt --output-file requirements/test.txt

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .bench
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
