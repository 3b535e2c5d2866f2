# The commands of this project: the same for people and for CI. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
PYTEST := $(PY) -m pytest
ROOMS  := controller server training
UV     := $(VENV)/bin/uv
# Beside the scikit-learn of pyproject.toml: server images for models of these minor versions.
OTHER_SKLEARN := 1.8
IMAGE_LOCKS := controller/requirements.txt server/requirements.txt $(OTHER_SKLEARN:%=server/requirements-sklearn-%.txt)
# The other servers of the benchmark, each with an environment of its own.
PEERS  := bentoml fastapi kserve mlflow mlserver

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

# --- the development environment -------------------------------------------------------------------------------------
$(VENV)/.done: tests/requirements.txt
	@echo "==> Python environment in $(VENV)"
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "Python's venv module is missing: apt-get install python3-venv"; exit 1; }
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/pip install --progress-bar off --require-hashes -r tests/requirements.txt > $(VENV)/pip.log & \
	  while sleep 5 && kill -0 $$! 2>/dev/null; do echo "    $$(grep -c ^Collecting $(VENV)/pip.log) packages so far"; done; \
	  wait $$! || { tail -n 20 $(VENV)/pip.log; exit 1; }
	@touch $@

venv: $(VENV)/.done  ## the Python environment that the other targets use

lock: $(VENV)/.done  ## pin the dependencies of pyproject.toml, with hashes, in each room's requirements.txt
	$(UV) pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --universal \
	  $(foreach r,$(ROOMS) dev,--extra $(r)) pyproject.toml -o tests/requirements.txt
	@for room in $(ROOMS); do \
	  $(UV) pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --universal \
	    -c tests/requirements.txt --extra $$room pyproject.toml -o $$room/requirements.txt; done
	@for minor in $(OTHER_SKLEARN); do \
	  $(UV) pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --universal \
	    -c <(sed -n 's/^\([a-z].*==.*\) \\$$/\1/p' server/requirements.txt | grep -v ^scikit-learn==) \
	    --override <(echo "scikit-learn==$$minor.*") --extra server pyproject.toml -o server/requirements-sklearn-$$minor.txt; done
	@echo kserve | $(UV) pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  --universal - -o tests/contract/kserve-requirements.txt
	@for peer in $(PEERS); do \
	  $(UV) pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --universal \
	    tests/bench/peers/$$peer.in -o tests/bench/peers/$$peer.txt; done
	@echo 'mlflow[auth]' | $(UV) pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  --universal -c tests/requirements.txt - -o manifests/mlflow/requirements.txt

# --- what CI runs ----------------------------------------------------------------------------------------------------
test: lint unit contract chart browser cluster-test e2e  ## everything that CI runs

lint: venv  ## style, types, security, import rules, generated files, GitHub workflows
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PY) -m controller.crd --check charts/modeldeployment-operator/files/crd.yaml
	$(PY) -m charts.dashboards --check charts/modeldeployment-operator/files/dashboards
	$(PY) -m tests.chart.documentation --check
	$(PY) -m tests.chart.manifest --check
	$$($(PY) -m tests.clusters tool actionlint)
	$(VENV)/bin/zizmor --offline --persona=pedantic --quiet .github

unit: venv  ## the fast tests: no root, no cluster
	$(PYTEST) -n 2 --dist loadfile tests/unit

contract: venv  ## controller, server, MLflow and their clients agree, each as the real process
	$(PYTEST) -n 2 --dist loadfile tests/contract

chart: venv  ## the Helm chart, rendered by the real helm; its alerts, by promtool
	@$(PY) -m tests.clusters tool helm > /dev/null
	@$(PY) -m tests.chart.promtool > /dev/null
	$(PYTEST) tests/chart

browser: venv  ## the page for people, in a headless Chromium
	@$(PY) -m tests.browser.chromium > /dev/null
	$(PYTEST) tests/browser

generate: venv  ## write the files that are generated: the CRD, dashboards, the chart's table of values and schema, install.yaml
	$(PY) -m controller.crd charts/modeldeployment-operator/files/crd.yaml
	$(PY) -m charts.dashboards charts/modeldeployment-operator/files/dashboards
	$(PY) -m tests.chart.documentation
	$(PY) -m tests.chart.manifest

# --- the throwaway cluster (tests/clusters) --------------------------------------------------------------------------
cluster: venv  ## start a cluster to play with (.cluster/kubeconfig)
	@$(PY) -m tests.clusters up

down: venv  ## end that cluster; nothing of it is left
	@$(PY) -m tests.clusters down

images: venv  ## build the images, and load them into the cluster where one runs
	@$(PY) -m tests.clusters images

cluster-test: venv  ## the cluster and the images themselves, on a real API server and a real Docker engine
	@$(PY) -m tests.clusters prepare
	$(PYTEST) tests/cluster

# --- what is shipped (tests/supply) -----------------------------------------------------------------------------------
sbom: venv  ## the bill of materials of each image, CycloneDX (.sbom/*.cdx.json)
	@$(PY) -m tests.supply.sbom

audit: venv  ## known vulnerabilities of all that is locked; asks a public database
	@$(PY) -m tests.supply.audit

platforms: venv  ## that every package of the images has a wheel for amd64 and for arm64; asks the package index
	@for lock in $(IMAGE_LOCKS); do for architecture in x86_64 aarch64; do \
	  $(UV) pip install --dry-run --quiet --python-version 3.11 --python-platform $$architecture-manylinux_2_28 --only-binary :all: \
	    --require-hashes --no-deps --target $(VENV)/none -r $$lock; \
	  echo "    $$lock: a wheel of each package for $$architecture"; done; done

package: venv  ## the chart and install.yaml of a release: make package IMAGES=registry/owner/repository SOURCE=https://host/owner/repository TAG=v0.1.0 (dist/)
	@$(PY) -m tests.supply.chart "$(IMAGES)" "$(SOURCE)" "$(TAG)"

# --- the whole road ---------------------------------------------------------------------------------------------------
demo: venv  ## the main job on a fresh machine: from a table of data to predictions from a cluster
	@$(PY) -m tests.demo

e2e: venv  ## the journey of a model, and a few faults, on the real cluster
	@$(PY) -m tests.clusters prepare
	$(PYTEST) --durations=25 tests/e2e tests/faults -m "not long"

monitoring-test: venv  ## the real Prometheus Operator beside the operator: targets, rules, two alerts to Alertmanager and back
	@$(PY) -m tests.clusters prepare
	@$(PY) -m tests.monitoring.stack
	$(PYTEST) --durations=10 tests/monitoring

upgrade-test: venv  ## from the last tag, or from FROM=COMMIT, to this checkout: a model goes on being served, no request is lost
	@$(PY) -m tests.clusters prepare
	UPGRADE_FROM=$(FROM) $(PYTEST) tests/upgrade

faults: venv  ## every fault that is promised to be survived, on the real cluster: about three quarters of an hour
	@$(PY) -m tests.clusters prepare
	$(PYTEST) tests/faults

# --- the benchmarks (tests/bench) ------------------------------------------------------------------------------------
bench: bench-controller bench-server bench-training  ## every benchmark

bench-controller: venv  ## the operator at 100, 300 and 1,000 resources, beside a client that only writes (.bench/controller.json)
	@$(PY) -m tests.bench.controller

bench-server: venv  ## the server beside every other one, installed in throw-away environments: 20 minutes (.bench/server.json)
	@$(PY) -m tests.bench.server

bench-training: venv  ## training beside the bare fits in it, to a million rows, and the optimizer on real tables (.bench/training.json)
	@$(PY) -m tests.bench.training

bench-clean:  ## remove the environments and figures of the benchmarks
	rm -rf .bench

.PHONY: help venv lock test lint unit contract chart browser generate cluster down images cluster-test demo e2e monitoring-test upgrade-test faults sbom audit platforms package bench bench-controller bench-server bench-training bench-clean
