# A newcomer needs two commands: `make demo` and `make test`.
# They set up their own virtual environments; they need only Python >= 3.11 and git.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=
# How many processes share the tests: -n 0 for one, which shows output at once. By default more
# than there are processors: many tests wait for the clock, or for other programs.
WORKERS ?= -n $(shell expr $$(getconf _NPROCESSORS_ONLN) + 8) --maxschedchunk 1
# Without compiled files, each of these processes and of the many that they start compiles all anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test soak house lint check format bench screenshots plots manifests catalogue lock names notices release clean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(VENV)/.runtime ## Watch simulated jobs; needs no AWS account (ARGS="--duration 60s")
	@$(BIN)/job-monitor demo $(ARGS)

test: $(VENV)/.compiled ## Run all tests (ARGS="tests/unit -k diff")
	@$(BIN)/python -m pytest $(WORKERS) $(ARGS)

soak: $(VENV)/.dev ## Run the long forms of the harnesses, for an hour or so
	@$(BIN)/python -m pytest -m soak $(ARGS)

house: $(VENV)/.dev ## Print the figures of the code, such as its size, against their goals
	@$(BIN)/python tests/house.py

lint: $(VENV)/.dev ## Check style, types and architecture
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

check: lint test ## Everything that CI checks

format: $(VENV)/.dev ## Format the code
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

bench: $(VENV)/.dev ## Run the benchmarks; prints ratios against baselines
	@missed=0; for script in tests/benchmarks/bench_*.py; do \
	  PYTHONPATH=. $(BIN)/python $$script || missed=1; \
	done; exit $$missed

screenshots: $(VENV)/.dev ## Take the pictures of the page again (needs chromium)
	@PYTHONPATH=. $(BIN)/python tests/screenshots.py

plots: $(VENV)/.dev ## Draw the tables of docs/performance.md again
	@PYTHONPATH=. $(BIN)/python -m tests.benchmarks.plots

manifests: $(VENV)/.dev ## Write the generated Kubernetes manifests
	@PYTHONPATH=. $(BIN)/python -m tests.deploy.manifests

catalogue: $(VENV)/.dev ## Write the catalogue of job types, docs/job-catalogue.md
	@PYTHONPATH=. $(BIN)/python -m tests.docs.catalogue

lock: $(VENV)/.dev ## Pin all dependencies again, with hashes
	@$(BIN)/python -m pip install --quiet uv
	@for set in runtime dev full; do \
	  case $$set in \
	    runtime) parts="--extra postgresql" ;; \
	    dev) parts="--group dev --extra postgresql" ;; \
	    full) parts="--all-extras --constraint requirements/runtime.txt --constraint requirements/dev.txt" ;; \
	  esac; \
	  $(BIN)/uv pip compile pyproject.toml $$parts --python-version 3.11 \
	    --universal --generate-hashes --no-emit-index-url --no-header --quiet \
	    --upgrade --output-file requirements/$$set.txt || exit 1; \
	done
	@echo pip | $(BIN)/uv pip compile - --python-version 3.11 --universal --generate-hashes \
	  --no-emit-index-url --no-header --quiet --upgrade --output-file requirements/pip.txt

names: $(VENV)/.dev ## Write the names of release/names.toml wherever they are repeated
	@$(BIN)/python release/names.py
	@PYTHONPATH=. $(BIN)/python -m tests.deploy.manifests

notices: $(VENV)/.dev ## Write the licences of the runtime requirements
	@$(BIN)/python release/notices.py > THIRD-PARTY-NOTICES.new
	@mv THIRD-PARTY-NOTICES.new THIRD-PARTY-NOTICES

release: $(VENV)/.dev ## Build the release of the last commit, into dist/
	@rm -rf dist
	@$(BIN)/python release/build.py dist
	@cat dist/SHA256SUMS

clean: ## Remove everything that the targets created
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.13 ..." >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "The venv module is missing; on Debian: apt-get install python3-venv" >&2; exit 2; }

$(VENV)/.runtime: requirements/runtime.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/runtime.txt
	@$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

# The pip that comes with an older Python takes twice the time of a processor for the rest.
$(VENV)/.dev: requirements/pip.txt requirements/dev.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/pip.txt
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@ $(VENV)/.runtime

# Compile all tests once: else each of the processes that share them would, at the same time.
# What does not compile is for the run to say.
$(VENV)/.compiled: $(VENV)/.dev
	@$(BIN)/python -m pytest -n 0 --collect-only -qq >/dev/null 2>&1 || true
	@touch $@
