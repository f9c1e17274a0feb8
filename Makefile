# `make quickstart` and `make test` work on a machine with nothing but Python 3.11, make and a package registry.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= out/quickstart
# Pictures are drawn by as many processes as there are cores, a thread each.
PROCESSES ?= $(shell nproc 2>/dev/null || echo 1)

.DEFAULT_GOAL := help
.PHONY: help install quickstart test test-quick lint typecheck format schema docs

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.installed ## Set up the environment in .venv

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@

quickstart: install ## Build the digit sets, train on each, score on real digits, print the table
	PATH="$(abspath $(BIN)):$$PATH" PROCESSES=$(PROCESSES) bash recipes/quickstart/run.sh $(OUT)

test: install lint ## Lint, type-check and run every test
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist worksteal

test-quick: install ## The tests that take seconds
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) -m "not slow"

lint: install typecheck ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: install ## mypy, strict on factory, train and eval
	$(BIN)/mypy

format: install ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: install ## Write recipes/schema.json and docs/recipe-reference.md from the recipe models
	$(BIN)/python -m factory.reference
