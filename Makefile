# `make demo` and `make test` set up all they need: Python 3.11+ and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SETTINGS := pyproject.toml plugins/clevertap/pyproject.toml

.PHONY: demo test lint unit bench soak clean

demo: $(VENV)/installed
	$(BIN)/python config/demo/demo.py

test: lint unit

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd plugins/clevertap && ../../$(BIN)/mypy

unit: $(VENV)/installed
	$(BIN)/pytest -q

bench: $(VENV)/installed
	$(BIN)/python -m tests.benchmarks $(ARGS)

# Long runs: more crashes, more examples, ten minutes of load.
soak: $(VENV)/installed
	ROUTER_CRASH_ROUNDS=200 $(BIN)/pytest -q tests/system/test_crash.py tests/log
	$(BIN)/python -m tests.benchmarks --soak 600

$(VENV)/installed: $(SETTINGS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --editable plugins/clevertap --group dev
	@touch $@

clean:
	rm -rf $(VENV) .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
