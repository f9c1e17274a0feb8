# `make quickstart` and `make test` work on a machine with nothing but Python 3.11, make and a package registry.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= out/quickstart
# One single-threaded process per core generates images; four are enough for datasets of this size.
PROCESSES ?= $(shell n=$$(nproc 2>/dev/null || echo 1); [ $$n -gt 4 ] && echo 4 || echo $$n)
# These options silence accelerate's remarks about defaults.
LAUNCH := $(BIN)/accelerate launch --quiet --num_machines 1 --mixed_precision no --dynamo_backend no
# Starts several processes even on a machine without a GPU.
MULTI := $(if $(filter-out 1,$(PROCESSES)),--multi_gpu)
# A ResNet of 0.4 million parameters: it trains on a thousand 32 px images in half a minute.
MODEL := test_resnet
CONFIGS := base-class class-prompt multi-domain random-guidance all-combined

.DEFAULT_GOAL := help
STUDY ?= out/study
# Real test images of the study, and real training images for its reference rows: SET=DATASET SET=DATASET
REAL ?=
REFERENCE ?=
# More options of `eval study`, e.g. --images-per-class 500 --seeds 0,1,2
STUDY_OPTIONS ?=

.PHONY: help install study quickstart test test-quick test-soak lint typecheck format docs graph schema cards

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.installed ## Set up the environment in .venv

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@

quickstart: install ## Generate digits, train on each config, score on real digits, print the table
	$(BIN)/python -m eval digits $(OUT)/real
	$(LAUNCH) $(MULTI) --num_processes $(PROCESSES) factory build recipes/quickstart $(OUT)/set
	$(BIN)/python -m factory preview recipes/quickstart/multi-domain.yaml --out $(OUT)/contact-sheet.png
	@for config in $(CONFIGS); do \
	  $(LAUNCH) --num_processes 1 --cpu --num_cpu_threads_per_process $(PROCESSES) \
	    train $(OUT)/set --config $$config --model $(MODEL) --preset digits --out $(OUT)/runs/$$config || exit 1; \
	done
	$(LAUNCH) --num_processes 1 --cpu --num_cpu_threads_per_process $(PROCESSES) \
	  eval score $(addprefix $(OUT)/runs/,$(CONFIGS)) --real $(OUT)/real
	$(BIN)/python -m eval table $(addprefix $(OUT)/runs/,$(CONFIGS)) --out $(OUT)/table.md
	@cat $(OUT)/table.md
	@echo "contact sheet: $(OUT)/contact-sheet.png    table: $(OUT)/table.md"

study: install ## The paper's study with the embedded generator: hours; resumes where it was stopped
	$(BIN)/python -m eval study docs/study.yaml $(STUDY) --report docs/study.md \
	  --processes $(PROCESSES) --jobs $(PROCESSES) \
	  $(addprefix --real ,$(REAL)) $(addprefix --reference ,$(REFERENCE)) $(STUDY_OPTIONS)

test: install lint ## Lint, type-check and run all tests
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist worksteal

test-quick: install ## Run only the tests that take seconds
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) -m "not slow and not soak"

test-soak: install ## Run the long tests: faults at every point, repeated kills
	$(BIN)/python -m pytest -m soak

lint: install typecheck ## Run ruff, mypy and import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo --no-cache

typecheck: install ## Run mypy, strict on factory, train and eval
	$(BIN)/mypy

format: install ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

cards: install ## Write dataset_cards/*.md, the cards of the packaged datasets
	$(BIN)/python -m factory.card.planned

docs: install ## Build the documentation site in out/docs; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs out/docs

graph: install ## Write the picture and the table of packages: docs/packages.svg, docs/design.md
	$(BIN)/python docs/draw_packages.py

schema: install ## Write recipes/schema.json and docs/recipe-reference.md from the recipe models
	$(BIN)/python -m factory.recipe.reference
