# Everything runs inside .venv, which is made on first use.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup demo test test-portable test-faults test-slurm test-slow lint bench tables readme docs clean
.DEFAULT_GOAL := help

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/installed ## virtual environment with everything in it

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4))' || { echo "Python 3.11.4 or newer is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev,slurm]'
	@touch $@

demo: setup ## the small desk benchmark: 63 runs, their grid and verdict
	$(BIN)/python run.py table=desk jobs=-1

test: setup ## all tests but the next
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

test-faults: setup ## injected faults: kills, full disks, flipped bytes; minutes
	$(BIN)/python -m pytest -m faults --numprocesses auto --maxprocesses 4 --dist worksteal tests/faults

# Files whose tests compute: what they assert must hold whatever vector instructions the libraries use.
NUMERIC := api backbones baselines category_relationship engine evaluate formulas further methods \
	precision predict relationship source_features timm trunk upright

test-portable: setup ## the numeric tests, without AVX; a minute
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal $(NUMERIC:%=tests/test_%.py)

test-slurm: setup ## sweeps on a Slurm that the tests start; minutes (apt-get install slurm-wlm munge)
	$(BIN)/python -m pytest -m slurm -rs tests/slurm

test-slow: setup ## the verdict over 400 simulated repetitions; minutes
	$(BIN)/python -m pytest -m slow tests

lint: setup ## ruff and pyright
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

bench: setup ## our way against the plain way; minutes, writes the table in docs/performance.md
	$(BIN)/python benchmarks/all.py

tables: setup ## render every table from the records; STRICT=1 fails if a run is missing, TABLE=desk makes one
	$(BIN)/python scripts/make_tables.py $(if $(TABLE),table=$(TABLE)) $(if $(STRICT),--strict)

readme: setup ## put the grids and figures of the benchmarks into README.md and docs/
	$(BIN)/python scripts/update_readme.py

docs: setup ## the documentation as a site in site/; a broken link fails
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	$(BIN)/zensical build --clean --strict
	@echo 'site/index.html (with search: python -m http.server -d site)'

clean: ## remove the virtual environment; results stay
	rm -rf .venv
