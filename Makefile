# A fresh clone needs Python 3.11 or newer, g++ and make; everything else goes to .venv.
#
#   make test PYTEST_ARGS='-m slow'       the long property tests, the wheel
#   make demo PYTHON=python3.12

PYTHON ?= python3
CXX ?= g++
PYTEST_ARGS ?= -m "not slow"
# Processes that share the tests, a file at a time; each takes about 2 GB.
WORKERS ?= 2
TORCH ?= torch
DEMO_OUTPUT ?= kerasqnn-demo

VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
TYPECHECK := build/typecheck
SOURCES := kerasqnn layers export
LINTED := $(wildcard $(SOURCES) tests examples benchmarks docs)
BENCHMARKS := $(sort $(filter-out benchmarks/_%,$(wildcard benchmarks/*.py)))

# Quiet TensorFlow start-up lines, and plots without a display.
export TF_CPP_MIN_LOG_LEVEL ?= 2
export MPLBACKEND ?= Agg

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help install demo test backends lint bench clean compiler

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## make .venv and install kerasqnn with its development tools

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "kerasqnn needs Python 3.11 or newer. Received: PYTHON=$(PYTHON)" \
	    "($$($(PYTHON) --version 2>&1)). Try: make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): setup.cfg pyproject.toml | $(PY)
	$(PY) -m pip install --disable-pip-version-check --quiet --editable '.[dev]'
	@touch $@

compiler:
	@command -v $(CXX) >/dev/null || { \
	  echo "A C++ compiler is needed to emulate the hardware. Received: CXX=$(CXX)." \
	    "On Debian or Ubuntu: sudo apt-get install g++" >&2; exit 1; }

demo: $(INSTALLED) compiler ## train, quantize, export and emulate a model; write a report
	$(VENV)/bin/kerasqnn demo --output $(DEMO_OUTPUT)

test: $(INSTALLED) compiler ## run the tests but the slow ones (options in PYTEST_ARGS)
	$(PY) -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

# torch takes much less with TORCH='torch --index-url https://download.pytorch.org/whl/cpu'.
backends: $(INSTALLED) ## install JAX and torch, and run the layers on them
	$(PY) -m pip install --disable-pip-version-check --quiet $(TORCH)
	$(PY) -m pip install --disable-pip-version-check --quiet --editable '.[backends]'
	$(PY) -m pytest -m slow tests/backends

# mypy reads folders, not installed mappings, so it is shown the package as installed:
# a folder of links in which layers/ and export/ lie inside kerasqnn/.
lint: $(INSTALLED) ## ruff check, ruff format --check, mypy
	$(PY) -m ruff check $(LINTED)
	$(PY) -m ruff format --check $(LINTED)
	@rm -rf $(TYPECHECK)/kerasqnn && mkdir -p $(TYPECHECK)/kerasqnn
	@ln -s $(CURDIR)/kerasqnn/* $(CURDIR)/layers $(CURDIR)/export $(TYPECHECK)/kerasqnn/
	cd $(TYPECHECK) && $(CURDIR)/$(PY) -m mypy --config-file $(CURDIR)/setup.cfg -p kerasqnn

bench: $(INSTALLED) compiler ## run every program in benchmarks/
	@set -e; for program in $(BENCHMARKS); do \
	  echo "==> $$program"; $(PY) $$program; \
	done

clean: ## remove what was built or generated; .venv stays
	rm -rf build dist *.egg-info $(DEMO_OUTPUT)
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find $(wildcard $(SOURCES) tests examples benchmarks) -name __pycache__ -prune -exec rm -rf {} +
