# make demo | test | lint | types | format | docs | lock | setup | release-check
# | audit
# PYTHON: which one makes the environment; VENV: where; EXTRA: cpu, cuda, tpu.
PYTHON ?= python3
VENV ?= .venv
EXTRA ?= cpu
BIN := $(VENV)/bin

# The demo: more flags in DEMO_ARGS, e.g. '--config.train.steps=10'.
DEMO_DIR ?= runs/synthetic
DEMO_ARGS ?=

# The tests: SLOW=1 runs the slow ones too; TESTS chooses files.
TESTS ?=
# One process measured as fast as two (100 s and 112 s on 2 busy cores): XLA
# uses both cores, and each worker imports and compiles for itself.
WORKERS ?= 0
ifdef SLOW
MARKS :=
else
MARKS := -m "not slow"
endif

# XLA on CPU frees its temporaries after each step and faults them in again,
# 4 KB at a time; with huge pages a step took 0.30 s instead of 0.39 s.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

.PHONY: setup demo test lint types format docs lock release-check audit

setup:
	@launch/setup.sh $(PYTHON) $(VENV) $(EXTRA)

demo: setup
	$(BIN)/python -m diffpose_jax.main --config=configs/synthetic.py --workdir=$(DEMO_DIR) $(DEMO_ARGS)

test: setup
	$(BIN)/python -m pytest -n $(WORKERS) $(MARKS) $(TESTS)

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/pyright --pythonpath $(BIN)/python

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The documentation, as pages in docs/_build/html; any warning is an error.
# DIFFPOSE_URL: the project's address, where links to source files lead.
docs: setup
	$(BIN)/python -m sphinx --builder=html --fail-on-warning --keep-going --quiet \
	  --conf-dir=docs --doctree-dir=docs/_build/doctrees . docs/_build/html
	@echo docs/_build/html/index.html

# Exact versions from the bounds in pyproject.toml: the newest of today.
LOCKS := $(foreach extra,cpu cuda tpu,$(foreach py,311 312,$(extra)-py$(py)))
lock:
	$(PYTHON) -m venv .cache/uv && .cache/uv/bin/pip install --quiet uv
	$(foreach name,$(LOCKS),.cache/uv/bin/uv pip compile --quiet --upgrade \
	  --python-version $(subst py3,3.,$(lastword $(subst -, ,$(name)))) \
	  --python-platform x86_64-manylinux_2_31 \
	  --extra $(firstword $(subst -, ,$(name))) --extra dev \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --output-file launch/locks/$(name).txt pyproject.toml &&) true

# Wheel and sdist into dist/, each tried in bare environments.
release-check:
	@launch/release_check.sh

# Known vulnerabilities of the locked packages.
audit: setup
	@launch/audit.sh
