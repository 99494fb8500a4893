# `make demo` and `make test` set up what they need in .venv and go from there.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint wheel clean

demo: .venv/ready
	$(BIN)/python scripts/demo.py demo

test: lint
	$(BIN)/python -m pytest --cov=galahstream --cov-report=term

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

wheel: .venv/ready
	$(BIN)/python -m build --wheel

clean:
	rm -rf .venv demo build dist *.egg-info

.venv/ready: setup.cfg constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
