# Two commands for a fresh machine: `make demo` and `make test`. Both set up .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check setup node clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --quiet --constraint constraints.txt --editable ".[demo]" --group dev
	@touch $@

demo: setup
	$(BIN)/llmcost demo

# A process a core; whoever is done early takes tests over from the end of another's.
test: setup node
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

# The Node SDK's half of tests/senders.py; without npm its one test says that it was left out.
node: tests/node/package.json
	@if command -v npm >/dev/null; then npm install --prefix tests/node --silent --no-audit --no-fund --no-package-lock; fi

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
