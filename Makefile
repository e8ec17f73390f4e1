# SPDX-License-Identifier: MPL-2.0
# Every target does its own set-up: Python 3.11 or newer and make are enough.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
# What is compiled once is kept: every process of a sandbox would compile the product anew.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help venv sandbox test thorough coverage codes lifecycles ordeal check fmt screenshots bench bench-pages backlog soak lock scenarios

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

$(STAMP): requirements-dev.lock pyproject.toml
	@echo "Setting up $(VENV) (once; about a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

venv: $(STAMP) ## set up the virtual environment, start nothing

sandbox: $(STAMP) ## start everything on this machine: gateway, KSD, two jobcentres, PostgreSQL
	@$(BIN)/sygefravaer sandbox up

# Three at a time on two cores: the tests of killed and silent processes mostly wait.
test: $(STAMP) ## run all tests; what is many times the same by lot (LOT=4711 draws the same again)
	@$(BIN)/python -m pytest -n 3 --dist worksteal

thorough: $(STAMP) ## run all tests, and leave nothing to the lot
	@THOROUGH=1 $(BIN)/python -m pytest -n 3 --dist worksteal

coverage: $(STAMP) ## run all tests, with the branch coverage of every process, about twice as long
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -n 2 --dist worksteal
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

codes: $(STAMP) ## let every two codes of every list change places, and see that it is missed (CODES="--list udfald")
	@PYTHONPATH=src:tests $(BIN)/python -m codes $(CODES)

lifecycles: $(STAMP) ## live 200 random lives of cases, about half an hour (LIVES="--runs 20 --seed 7")
	@PYTHONPATH=src:tests $(BIN)/python -m lifecycles $(LIVES)

ordeal: $(STAMP) ## kill, stop, cut and fill up whatever can be, and see that the promise holds (ORDEAL="kills --cycles 20")
	@PYTHONPATH=src:tests:. $(BIN)/python -m ordeal $(or $(ORDEAL),all)

scenarios: $(STAMP) ## play every scenario under every clock
	@for clock in plain october leap newyear; do $(BIN)/sygefravaer scenario run --all --clock $$clock || exit 1; done

check: $(STAMP) ## lint, format, types, floors of the house
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fmt: $(STAMP) ## format the code
	@$(BIN)/ruff check --fix --quiet || true
	@$(BIN)/ruff format

screenshots: $(STAMP) ## draw all screens anew into docs/screens; needs Debian's chromium
	@PYTHONPATH=src:tests:. $(BIN)/python -m screens.shots

bench: $(STAMP) ## measure speed beside the machine's own ceiling (BENCH="--strict" makes a missed target an error)
	@$(BIN)/python -m benchmarks $(BENCH)

bench-pages: $(STAMP) ## measure the pages alone, with two million messages behind them (PAGES="--messages 100000")
	@$(BIN)/python -m benchmarks.pages $(PAGES)

backlog: $(STAMP) ## drain 150 000 queued messages beside live traffic, about a quarter of an hour (BACKLOG="--receiver real")
	@$(BIN)/python -m benchmarks.backlog $(BACKLOG)

soak: $(STAMP) ## send a million messages, with a crash, and watch the memory, one to two hours (SOAK="--messages 20000")
	@$(BIN)/python -m benchmarks.soak $(SOAK)

lock: ## make the lock files anew from pyproject.toml
	@$(BIN)/pip-compile -q --strip-extras --generate-hashes --allow-unsafe --no-emit-index-url --no-emit-find-links \
		--no-header --upgrade --extra dev -o requirements-dev.lock pyproject.toml --pip-args '--only-binary :all:'
	@$(BIN)/pip-compile -q --strip-extras --generate-hashes --allow-unsafe --no-emit-index-url --no-emit-find-links \
		--no-header -o requirements.lock pyproject.toml -c requirements-dev.lock --pip-args '--only-binary :all:'
