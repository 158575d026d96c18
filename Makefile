# Everything sets itself up: `make demo` and `make test` need Python 3.11 or newer, git and make, and nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench proto docs tools clean

help:            ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /  make \1\t/'

setup: .venv/.ready  ## the virtual environment .venv, from pinned versions

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv
	PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/pip install --quiet -e '.[dev]'
	touch $@

demo: setup      ## the main job end to end: real Envoy, simulated servers, with and without the picker
	$(BIN)/extproc demo

test: tools      ## the whole test suite, real Envoy included (and grpcurl where Go is installed)
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest

check: setup     ## format, lint, types, import contracts, unit tests: under 30 s
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/unit tests/streams

bench: setup     ## the benchmarks behind docs/performance.md; ONLY="p1 p3" runs some
	$(BIN)/python -m bench $(ONLY)

proto: setup     ## regenerate src/extproc/_gen from proto/
	$(BIN)/python proto/generate.py

docs: setup      ## regenerate docs/configuration.md from the settings' schema
	$(BIN)/python -m extproc.settings.reference > docs/configuration.md

tools: setup     ## test tools that are not Python: grpcurl, where Go is installed
	@if command -v go >/dev/null && [ ! -x $(BIN)/grpcurl ]; then \
	  GOBIN=$(CURDIR)/$(BIN) go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3 \
	  || echo "grpcurl could not be installed; its test is left out"; \
	fi

clean:           ## remove what setup made
	rm -rf .venv build src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
