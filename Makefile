# `make quickstart` and `make test` work on a machine with nothing but Python 3.11, make and a package registry.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= out/quickstart
# Tests, and the processes and runs of the study; four are enough for datasets of this size.
PROCESSES ?= $(shell n=$$(nproc 2>/dev/null || echo 1); [ $$n -gt 4 ] && echo 4 || echo $$n)
# A ResNet of 0.4 million parameters: it trains on a thousand 32 px images in half a minute.
MODEL := test_resnet
CONFIGS := base-class class-prompt multi-domain random-guidance all-combined

.DEFAULT_GOAL := help
STUDY ?= out/study
# Real test images of the study, and real training images for its reference rows: SET=DATASET SET=DATASET
REAL ?=
REFERENCE ?=
# More options of `eval study`, e.g. --images-per-class 500 --seed 0 --seed 1 --seed 2
STUDY_OPTIONS ?=

# Benchmarks to run, and options: BENCH="train score --resume"
BENCH ?=

.PHONY: help install study quickstart bench bench-gpu test run-tests test-quick test-soak lint typecheck format docs graph schema figures cards gallery tour

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.installed ## Set up the environment in .venv

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@

# One thread, so that the results are those of docs/quickstart.md on any number of cores.
quickstart: install ## Generate digits, train on each config, score on real digits, print the table
	$(BIN)/data-factory digits $(OUT)/real
	$(BIN)/data-factory build recipes/quickstart $(OUT)/set
	$(BIN)/data-factory preview recipes/quickstart/multi-domain.yaml --out $(OUT)/contact-sheet.png
	@for config in $(CONFIGS); do \
	  $(BIN)/data-factory train $(OUT)/set --config $$config --model $(MODEL) --preset digits \
	    --threads 1 --out $(OUT)/runs/$$config || exit 1; \
	done
	$(BIN)/data-factory score $(addprefix $(OUT)/runs/,$(CONFIGS)) --real $(OUT)/real --threads 1
	$(BIN)/data-factory table $(addprefix $(OUT)/runs/,$(CONFIGS)) --out $(OUT)/table.md
	@cat $(OUT)/table.md
	@echo "contact sheet: $(OUT)/contact-sheet.png    table: $(OUT)/table.md"

study: install ## The paper's study with the embedded generator: hours; resumes where it was stopped
	$(BIN)/data-factory study docs/study.yaml $(STUDY) --report docs/study.md \
	  --processes $(PROCESSES) --jobs $(PROCESSES) \
	  $(addprefix --real ,$(REAL)) $(addprefix --reference ,$(REFERENCE)) $(STUDY_OPTIONS)
	$(BIN)/python docs/write_figures.py

figures: install ## Write the study's figures into README.md, cookbook, gallery and recipes
	$(BIN)/python docs/write_figures.py

tour: install ## Run docs/tour.ipynb and store its outputs
	$(BIN)/python docs/run_tour.py

gallery: install ## Build the datasets of docs/gallery.md; write their contact sheets and times
	$(BIN)/python docs/make_gallery.py

bench: install ## Measure against the usual alternatives: docs/performance.md; use a quiet machine
	$(BIN)/python -m tests.benchmarks $(BENCH)

bench-gpu: install ## The same on a CUDA device: generation, training, scoring
	$(BIN)/python -m tests.benchmarks --device cuda $(BENCH)

test: install ## Lint, type-check and run the tests, without the long ones of test-soak
	@$(MAKE) --no-print-directory --jobs 2 lint run-tests

run-tests: install
	# Each Python that tests start would compile what it imports if none may keep its bytecode.
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist worksteal

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
	$(BIN)/python docs/write_cards.py

docs: install ## Build the documentation site in out/docs; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs out/docs

graph: install ## Write the figure and the table of packages: docs/packages.svg, docs/design.md
	$(BIN)/python docs/draw_packages.py

schema: install ## Write recipes/schema.json, docs/recipe-reference.md and the tables of docs/models.md
	$(BIN)/python docs/write_reference.py
