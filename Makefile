# make run          three nodes on this machine, from nothing to their learning curves
# make test         all tests but the slow ones
# make test-slow    the slow ones: many processes, real weights
# make test-faults  all that a swarm survives, broken for real; some twenty minutes
# make lint         ruff, pyright and the import contracts
# make embedded     makes the embedded model, tokenizer and questions again
# make clean        removes the environment and the caches; runs stay
#
# Each works on a fresh clone: it makes .venv first. PYTHON=/path/to/python chooses the interpreter.

SHELL := bash
VENV := .venv
BIN := $(VENV)/bin
IS_SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
CANDIDATES := python3 python3.13 python3.12 python3.11
PYTHON ?= $(shell for p in $(CANDIDATES); do \
	"$$p" -c '$(IS_SUPPORTED)' 2>/dev/null && { echo "$$p"; break; }; done)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: run test test-slow test-faults lint embedded clean

run: $(VENV)/.installed
	$(BIN)/python -m jaxswarm.launch --nodes 3 --config configs/tiny.py

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest --numprocesses 2

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "slow and not faults"

test-faults: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m faults

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

embedded: $(VENV)/.installed
	$(BIN)/python -m tools.embedded.make

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install --constraint constraints.txt --editable '.[dev]'
	touch $(VENV)/.installed $@

$(BIN)/python:
	@"$(PYTHON)" -c '$(IS_SUPPORTED)' 2>/dev/null || { \
		echo 'error: PYTHON: got "$(PYTHON)"; expected Python 3.11, 3.12 or 3.13;' \
			'install one, or name it: make PYTHON=/path/to/python' >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
