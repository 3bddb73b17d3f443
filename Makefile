# `make demo` and `make test` each make the environment first: nothing else has to be installed by hand.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint bench chaos clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mmstream needs Python 3.11 or later; this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[whisper,train,dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/mmstream demo

test: $(STAMP) lint
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m 'not alone'
	$(BIN)/python -m pytest -m alone

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/mmstream bench hops
	$(BIN)/mmstream bench pipeline
	$(BIN)/mmstream bench soak

chaos: $(STAMP)
	$(BIN)/mmstream bench overload
	$(BIN)/mmstream bench sessions --sessions 16 --slow 1 --rounds 3
	OMP_NUM_THREADS=1 $(BIN)/mmstream bench chaos

clean:
	rm -rf $(VENV) out
