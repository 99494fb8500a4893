# `make demo` and `make test` set up what they need in .venv and go from there.

PYTHON ?= python3
BIN := .venv/bin

SECONDS ?= 600

.PHONY: demo test lint wheel clean faults damage fuzz soak

demo: .venv/ready
	$(BIN)/python scripts/demo.py demo

test: lint
	$(BIN)/python -m pytest --cov=galahstream --cov-report=term

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell
	$(BIN)/mypy

# Conversions cut at every file call, damage in every file; malformed files and random faults
# for a while.
faults: .venv/ready
	$(BIN)/python -m tests.faults.interrupted

damage: .venv/ready
	$(BIN)/python -m tests.faults.damage

fuzz: .venv/ready
	$(BIN)/python -m tests.faults.fuzz --seconds $(SECONDS)

soak: .venv/ready
	$(BIN)/python -m tests.faults.soak --seconds $(SECONDS)

wheel: .venv/ready
	$(BIN)/python -m build --wheel

clean:
	rm -rf .venv demo build dist *.egg-info

.venv/ready: setup.cfg constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
