# `make demo` and `make test` set everything up on a fresh machine and are quick when that is done.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Threads that wait by spinning are slow beside other busy programs.
export OMP_WAIT_POLICY ?= passive

.PHONY: demo test openapi fuzz crash damage readers lint types

demo: $(READY)
	$(BIN)/medsiglip-search demo --out demo-output

test: $(READY)
	$(BIN)/python -m pytest

# What the API says of itself, which a test compares with docs/openapi.json.
openapi: $(READY)
	$(BIN)/python -m medsiglip_search.service.openapi docs/openapi.json

# Damaged files by the thousand; how many, and from which seed on, by COUNT and SEED.
COUNT ?= 20000
SEED ?= 0
fuzz: $(READY)
	$(BIN)/python tests/fuzz.py --count $(COUNT) --seed $(SEED)

# An indexer killed at random instants; a gallery damaged at random places; readers beside a writer.
crash: COUNT = 200
crash: $(READY)
	$(BIN)/python tests/crash.py --count $(COUNT) --seed $(SEED)

damage: COUNT = 300
damage: $(READY)
	$(BIN)/python tests/damage.py --count $(COUNT) --seed $(SEED)

SECONDS ?= 600
readers: $(READY)
	$(BIN)/python tests/readers.py --seconds $(SECONDS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

# venv and pip both leave what is right alone, so an interrupted set-up is mended by the next one.
$(READY): pyproject.toml constraints.txt
	@echo 'Setting up $(VENV): once, some minutes and some gigabytes of downloads.'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
