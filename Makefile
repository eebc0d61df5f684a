PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RUN := $(BIN)/python -m

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slurm test-slow lint bench gpu clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(STAMP)  ## .venv with everything in it (CONSTRAINTS=constraints-v100.txt for V100s)

$(STAMP): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or newer is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "installing into $(VENV) (once; torch makes it a few minutes and gigabytes)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c $(CONSTRAINTS) -e '.[dev]'
	@touch $@

demo: $(STAMP)  ## train the demo sweep on real handwritten digits; table, figure and report in results/demo
	@$(RUN) launch submit sweep=demo cluster=local
	@$(RUN) analysis overview sweep=demo

test: $(STAMP)  ## the test suite, on a real SLURM cluster where slurm-wlm and munge are installed
	$(RUN) pytest -m 'not slow' -n $${PYTEST_WORKERS:-auto} --dist loadgroup

test-slurm: $(STAMP)  ## the tests on SLURM alone; skipping one is a failure
	CI=true $(RUN) pytest -m 'slurm and not slow' tests

test-slow: $(STAMP)  ## what takes minutes: soak and kill tests at length
	$(RUN) pytest -m slow tests

lint: $(STAMP)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)  ## time training steps against the bare arithmetic; table and results/bench.json
	$(RUN) tests.benchmarks

gpu: $(STAMP)  ## what only a GPU can show, under ten minutes (PART=graph,sync DEVICE=cuda:1); a rehearsal without one
	$(RUN) tests.gpu $(if $(PART),parts=$(PART)) $(if $(DEVICE),device=$(DEVICE))

clean:  ## remove .venv, caches and build outputs; data, outputs and results stay
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
