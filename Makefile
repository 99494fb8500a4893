# `make demo` and `make test` create .venv with all they need, and use it from then on.

PYTHON ?= python3
BIN := .venv/bin
# Of the trainers that the loader is tested with; make test does without them.
CLIENTS := .venv-clients/bin
# Of the programs that look for faults.
SECONDS ?= 600
# Workers of pytest, each of which computes with one thread.
JOBS ?= auto
PYTEST := OMP_NUM_THREADS=1 MPLBACKEND=agg $(BIN)/python -m pytest -n $(JOBS) --dist worksteal
SURVEY := data/mock

.PHONY: help demo picture test coverage test-quick test-clients check docs lint faults damage fuzz soak wheel clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: .venv/ready  ## mock survey, store, training and pictures below demo/ (3 minutes)
	$(BIN)/python scripts/demo.py demo

picture: .venv/ready  ## docs/predictions.png from 10 epochs on a full mock survey (25 minutes)
	test -d $(SURVEY)/raw || { mkdir -p $(SURVEY) && $(BIN)/galahstream mock $(SURVEY)/raw; }
	test -d $(SURVEY)/store || $(BIN)/galahstream convert $(SURVEY)/raw $(SURVEY)/store
	test -e $(SURVEY)/run/model.pt || \
		$(BIN)/galahstream train $(SURVEY)/store --epochs 10 --out $(SURVEY)/run --resume
	cp $(SURVEY)/run/predictions.png docs/predictions.png

test: lint  ## lint, types and all tests (6 minutes)
	$(PYTEST)

coverage: .venv/ready  ## all tests, and the lines that none of them runs (8 minutes)
	$(PYTEST) --cov=galahstream --cov-report=term-missing:skip-covered

test-quick: .venv/ready  ## the tests that take no time (1 minute)
	$(PYTEST) -m "not slow and not faults"

test-clients: .venv-clients/ready  ## other trainers over the loader, and the examples (3 minutes)
	OMP_NUM_THREADS=1 MPLBACKEND=agg $(CLIENTS)/python -m pytest tests/clients

check: test  ## all that `make test` does, then every example in the documents
	$(BIN)/python -m pytest --doctest-glob="*.md" tests/test_docs.py docs README.md CONTRIBUTING.md

docs: .venv/ready  ## the documents as web pages in docs/_build (1 minute)
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build

lint: .venv/ready  ## style, import directions, spelling and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell
	$(BIN)/mypy

faults: .venv/ready  ## conversions killed at every file call
	$(BIN)/python -m tests.faults.interrupted

damage: .venv/ready  ## flipped bits and truncations in every file
	$(BIN)/python -m tests.faults.damage

fuzz: .venv/ready  ## malformed files for SECONDS=600
	$(BIN)/python -m tests.faults.fuzz --seconds $(SECONDS)

soak: .venv/ready  ## random faults for SECONDS=600
	$(BIN)/python -m tests.faults.soak --seconds $(SECONDS)

wheel: .venv/ready  ## build a wheel into dist/
	$(BIN)/python -m build --wheel

clean:  ## remove .venv, .venv-clients and everything that was built
	rm -rf .venv .venv-clients demo build dist *.egg-info

.venv/ready: setup.cfg constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

.venv-clients/ready: setup.cfg constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv-clients
	$(CLIENTS)/pip install --quiet --constraint constraints.txt --editable '.[clients]'
	touch $@
