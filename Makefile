# `make quickstart` and `make test` are all that is needed from a fresh clone; everything else follows from them.

PYTHON ?= python3
# Another build of torch can stand here, for example TORCH=torch==2.13.0+cpu where the index offers it.
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The linter of the page's scripts. Optional: it needs node, which nothing else does.
ESLINT := .ci/javascript/node_modules/.bin/eslint

.DEFAULT_GOAL := help
.PHONY: help setup quickstart published small test check bench site clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP)  ## create .venv with every pinned package (once; 3 to 7 minutes, about 4.5 GB)

$(STAMP): requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found; Python 3.11 or newer is needed" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $$($(PYTHON) --version 2>&1) is too old; Python 3.11 or newer is needed (make PYTHON=python3.11 ...)" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV) || \
		{ echo "error: no virtual environment could be made; on Debian: apt install python3-venv" >&2; exit 1; }
	@echo "installing torch and its dependencies"
	@$(BIN)/pip install --quiet --quiet --disable-pip-version-check $(TORCH)
	@echo "installing requirements.lock"
	@$(BIN)/pip install --quiet --quiet --disable-pip-version-check --no-deps -r requirements.lock
	@touch $@
	@echo "ready: $(VENV)"

quickstart: setup  ## run the micro track on embedded data (2 CPU cores, about 10 minutes)
	$(BIN)/python run_benchmark.py --gin_file=gin/quickstart.gin --workdir=runs/quickstart

published: setup  ## latency of published models here, beside their reported scores (2 CPU cores, 15 minutes)
	$(BIN)/python -m baselines measure --to=runs/published
	@$(BIN)/python -m leaderboard published --results=runs/published --out=runs/published/site

small: setup  ## run the scaled-down real-data track on CPU (needs AUTODISTILL_DATA)
	@test -n "$$AUTODISTILL_DATA" || \
		{ echo "error: AUTODISTILL_DATA is not set; it names the folder with glue/, squad/, pretrain/ and vocab/" >&2; exit 2; }
	$(BIN)/python run_benchmark.py --gin_file=gin/tracks/small_cpu.gin --workdir=runs/small_cpu

test: setup  ## run the tests on two processes
	$(BIN)/python -m pytest -q -n 2 --dist=loadfile --no-loadscope-reorder

check: setup  ## check format, lint and types; with node, lint the page's scripts too
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@if command -v node >/dev/null && test -x $(ESLINT); then $(ESLINT) -c .ci/javascript/eslint.config.js leaderboard/static; \
		else echo "skipped: lint of the page's scripts; it needs node and npm install --no-package-lock --prefix .ci/javascript"; fi

bench: setup  ## measure speed and memory against peers (idle machine, about 90 minutes; JSON in runs/bench)
	@mkdir -p runs/bench
	@test -n "$$AUTODISTILL_DATA" || echo "AUTODISTILL_DATA is not set: the embedded data set is measured"
	$(BIN)/python -m pytest -q tests/performance -o addopts=--strict-markers --benchmark-only \
		--benchmark-columns=median,iqr,rounds --benchmark-json=runs/bench/bench.json

site: setup  ## build the page again from the records of the quickstart
	$(BIN)/python run_benchmark.py --gin_file=gin/quickstart.gin --workdir=runs/quickstart --stages=publish

clean:  ## remove caches; keep .venv and runs
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks build *.egg-info
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
