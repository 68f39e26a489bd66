# Each target installs what it needs into .venv first: `make demo` and `make test` are the only commands needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo demo-quick test test-system test-slow fuzz check format

demo: $(VENV)/installed
	rm -rf demo
	$(BIN)/burst-denoise demo --output demo

demo-quick: $(VENV)/installed
	rm -rf demo
	$(BIN)/burst-denoise demo --output demo --quick

test: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not system"

# What needs other programs or processes: clusters, browsers, converters, killed sessions. Part of .ci/run.
test-system: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "system and not slow"

test-slow: $(VENV)/installed
	$(BIN)/python -m pytest -m slow

# Damaged inputs: make fuzz N=100000 SEED=2
N := 10000
SEED := 0
fuzz: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz $(N) --seed $(SEED)

check: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,experiments,cluster,web]'
	touch $@
