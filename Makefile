# Everything a fresh machine with Python 3.11+, make and git needs. `make help` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
export UV_PYTHON_DOWNLOADS := never
# where it is set, every process would compile all its libraries anew: seconds of CPU at each start of a service
unexport PYTHONDONTWRITEBYTECODE
PACKAGES := libs/common libs/cli local services/ingest services/kpi services/ticketing services/recovery
READY := .venv/.ready

.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(READY): requirements.lock bootstrap.lock $(addsuffix /pyproject.toml,$(PACKAGES))
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this one is " + sys.version.split()[0] + ". Set PYTHON=/path/to/python3.11.") if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { echo "Could not create .venv: install Python's venv module (Debian: apt install python3-venv), or free some disk space." >&2; exit 1; }
	@echo "Installing the tools and libraries named in requirements.lock (once)."
	@local/install.sh $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r bootstrap.lock
	@local/install.sh $(BIN)/uv pip install --python $(BIN)/python --require-hashes -r requirements.lock
	@local/install.sh $(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation $(addprefix -e ,$(PACKAGES))
	@touch $@

.PHONY: setup
setup: $(READY) ## install everything, start nothing

.PHONY: run
run: $(READY) ## start the whole system on real Kafka and PostgreSQL; Ctrl-C stops it
	@exec $(BIN)/python -m closedloop.local run

.PHONY: demo
demo: $(READY) ## realistic traffic against the running system (SPEED=60 plays an hour a minute)
	@exec $(BIN)/python -m closedloop.local demo $(if $(SPEED),--speed $(SPEED))

.PHONY: token
token: $(READY) ## a token for curl: make token ROLE=agent [SUBJECT=ann] [REGIONS=NJ,SZ] [UNITS=hotline]
	@$(BIN)/python -m closedloop.local token --role "$(or $(ROLE),admin)" $(if $(SUBJECT),--subject "$(SUBJECT)") $(if $(REGIONS),--regions "$(REGIONS)") $(if $(UNITS),--units "$(UNITS)")

.PHONY: test
test: $(READY) ## all tests, on real Kafka and PostgreSQL of their own
	@$(BIN)/python -m pytest $(ARGS)

.PHONY: check
check: $(READY) ## format, lint, types, layers
	@$(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --check .; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache --show-timings > /dev/null || $(BIN)/lint-imports --no-cache

.PHONY: format
format: $(READY) ## rewrite the code in the house format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: bench
bench: $(READY) ## every benchmark: each prints a ratio against a peer or a limit in the same run
	@$(BIN)/python benchmarks

.PHONY: upgrade-drill
upgrade-drill: $(READY) ## from git revision FROM to this checkout without downtime, for real (minutes; BACK=1: and back)
	@$(BIN)/python deploy/upgrade/drill.py --from "$(FROM)" $(if $(BACK),--back)

.PHONY: deploy-tools
deploy-tools: $(READY) ## what the tests of deploy/ need beside Python, into ~/.cache: kustomize, promtool, exporters, schemas
	@deploy/tools/install.sh

# Kafka's topics and users for Strimzi, from the code
.PHONY: manifests
manifests: $(READY)
	@$(BIN)/python deploy/tools/strimzi_resources.py

# Prometheus rules and Grafana's dashboards, from the shipped catalogue and the code
.PHONY: rules
rules: $(READY)
	@$(BIN)/python -m closedloop.kpi rules > deploy/prometheus/rules/indicators.yml
	@$(BIN)/python deploy/grafana/build.py

# the JSON Schemas of all events and the AsyncAPI document, from the code
.PHONY: schemas
schemas: $(READY)
	@$(BIN)/python -m closedloop.common.events.contract
	@$(BIN)/python -m closedloop.common.events.asyncapi > docs/asyncapi.json

.PHONY: lock
lock: $(READY) ## resolve the dependencies anew into requirements.lock (hashes, no addresses)
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --group dev pyproject.toml \
	  --no-emit-index-url --no-emit-find-links --no-annotate --no-header -o requirements.lock \
	  $(foreach p,common cli local ingest kpi ticketing recovery,--no-emit-package closedloop-$(p))
