# Each target sets up what it needs in .venv, once. See `make help`.
PYTHON ?= python3
# REDIS_PY=5 does everything with the newest redis-py 5, in a virtual environment of its own.
VENV   := .venv$(if $(REDIS_PY),-redis-$(REDIS_PY))
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip install -qq --disable-pip-version-check
READY  := $(VENV)/ready
# Where pottery 3.0 is, with a redis-py of its own.
POTTERY_3 := .venv-pottery-3/ready
AUDIT := .venv-audit/ready
# What is measured beside pottery, each in an environment of its own.
PEERS := .venv-redis-collections/ready .venv-walrus/ready

.DEFAULT_GOAL := help
.PHONY: help install pottery-3 demo demo-web test test-matrix test-upgrade lint format types docs dist bench bench-check audit check clean

help:  ## show this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

install: $(READY)  ## set up .venv, with pottery and all tools in it

# A half-made .venv has no stamp in it, and is made anew.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) -c constraints.txt -e '.[dev]'
	$(if $(REDIS_PY),$(PIP) 'redis==$(REDIS_PY).*')
	touch $@

pottery-3: $(POTTERY_3)  ## set up .venv-pottery-3, for the tests that exchange data with pottery 3.0

$(POTTERY_3): tests/pottery-3.txt
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/pip install -qq --disable-pip-version-check -r tests/pottery-3.txt
	touch $@

demo: $(READY)  ## index the standard library into Redis, and ask it questions
	$(BIN)/python examples/index_stdlib.py

demo-web: $(READY)  ## serve a web application by two workers, put it under load, and check it
	$(BIN)/python examples/web_load.py

test: $(READY)  ## run the tests: all with coverage, or those of ARGS='-k queue'
	$(BIN)/python -m pytest $(or $(ARGS),--cov -n auto --dist loadfile)

test-matrix: $(READY)  ## run the quick tests on each server, in each setting: ROWS='tls; redis-py 5' for some
	@ROWS='$(ROWS)' $(BIN)/python tests/matrix.py $(ARGS)

test-upgrade: $(READY) $(POTTERY_3)  ## run the tests that exchange data with pottery 3.0
	$(BIN)/python -m pytest tests/test_upgrade.py $(ARGS)

lint: $(READY)  ## look for mistakes, bad form and what attackers like
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/bandit -q -c pyproject.toml -r pottery

format: $(READY)  ## put the code in form
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

types: $(READY)  ## check the types, with mypy and pyright
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(READY)  ## build the documentation in docs/_build
	$(BIN)/sphinx-build -q -W --keep-going -d docs/_build/.doctrees docs docs/_build

dist: $(READY)  ## build what is published, in dist; DIST=dist makes the tests take these files
	rm -rf dist
	$(BIN)/python -m build --no-isolation

bench: $(READY) $(POTTERY_3) $(PEERS)  ## measure pottery beside its peers, and the limit
	$(BIN)/python -m benchmarks $(ARGS)

bench-check: $(READY)  ## fail where pottery is slower than it should be beside what is written by hand
	$(BIN)/python -m benchmarks --check $(ARGS)

.venv-%/ready: benchmarks/%.txt
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/pip install -qq --disable-pip-version-check -r $<
	touch $@

# Not part of check: it asks an advisory service about each pinned package, and fails if it cannot,
# as when pip is given a mirror without one.
audit: $(AUDIT)  ## ask a service whether what constraints.txt pins has known vulnerabilities
	.venv-audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt

$(AUDIT):
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/pip install -qq --disable-pip-version-check pip-audit==2.10.1
	touch $@

check: lint types test docs  ## all that must pass

clean:  ## remove what the other targets made
	rm -rf .venv* docs/_build dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
