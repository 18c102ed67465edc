# PYTHON and TORCH can be set, for example: make install PYTHON=python3.12
PYTHON ?= python3
TORCH ?= torch==2.13.0
BIN := .venv/bin

.PHONY: install demo test lint bench

install: .venv/.installed

# torch first and pinned, so that no other requirement chooses its build.
.venv/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install $(TORCH)
	$(BIN)/python -m pip install -e '.[demo,dev]'
	touch $@

demo: install
	$(BIN)/tascel demo

test: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: install
	mkdir -p results
	$(BIN)/tascel demo --json results/demo.json
