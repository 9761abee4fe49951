# The two commands to know: `make demo` and `make test`. Everything else is below them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-nightly lint bench bench-store bench-splunk bench-webhook bench-shared bench-clickhouse bench-backfill docs splunk appinspect playbooks schemathesis clean

$(VENV)/installed: setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 9) and "cbsigned needs Python 3.9 or newer; this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=22'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[html]'
	touch $@

demo: $(VENV)/installed   ## install, build a store from the sample telemetry, enrich the sample alerts
	@sh tests/demo.sh $(BIN)/cbsigned

test:                     ## everything, on each of Python 3.9, 3.11 and 3.13 that answers
	$(PYTHON) tests/matrix.py

test-nightly:             ## the long checks, on this Python
	$(PYTHON) tests/matrix.py --nightly

lint: $(VENV)/dev         ## formatter, linter, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONPATH=shared:connectors:playbooks $(BIN)/lint-imports

bench: $(VENV)/dev        ## measure, and write benchmarks/README.md anew
	$(BIN)/python benchmarks/run.py

bench-store: $(VENV)/dev  ## measure the store at five million processes (20 minutes, 4 GB), write benchmarks/store.md
	$(BIN)/python benchmarks/bench_store.py --output benchmarks/store.md

bench-splunk: $(VENV)/dev ## measure the Splunk commands beside the stock SDK, write benchmarks/splunk.md
	$(BIN)/python benchmarks/bench_splunk.py --output benchmarks/splunk.md

bench-webhook: $(VENV)/dev ## measure the webhook responder beside a bare handler, write benchmarks/webhook.md
	$(BIN)/python benchmarks/bench_webhook.py --output benchmarks/webhook.md

bench-backfill: $(VENV)/dev ## measure a back-fill of 50 million events beside the join alone (10 minutes, 15 GB)
	$(BIN)/python benchmarks/bench_backfill.py --output benchmarks/backfill.md

bench-clickhouse: $(VENV)/dev ## measure a store on two ClickHouse nodes beside its file (half an hour, 8 GB), write benchmarks/clickhouse.md
	$(BIN)/python benchmarks/bench_clickhouse.py --output benchmarks/clickhouse.md

bench-shared: $(VENV)/dev ## measure the shared cache, leases and jobs beside those of one host, write benchmarks/shared.md
	$(BIN)/python benchmarks/bench_shared.py --output benchmarks/shared.md

docs: $(VENV)/dev         ## paste real output into the README
	$(BIN)/python tests/readme.py --write
	PYTHONPATH=tests $(BIN)/python tests/connectors/splunk/docs_tables.py
	PYTHONPATH=tests $(BIN)/python tests/connectors/splunk/demo_splunk.py

splunk: $(VENV)/installed ## build the Splunk app, dist/cbsigned-<version>.spl
	rm -f dist/cbsigned-*.spl
	$(BIN)/python packaging/splunk/build.py --output dist

appinspect: splunk .venvs/appinspect/installed  ## let Splunk's AppInspect examine it (needs libmagic1)
	$(BIN)/python packaging/splunk/appinspect.py dist/cbsigned-*.spl

playbooks: $(VENV)/playbook ## build the packages of all SOAR platforms into dist/
	$(BIN)/python packaging/manifests.py --check
	$(BIN)/python packaging/soar/build.py --output dist
	$(BIN)/python packaging/xsoar/build.py --output dist
	$(BIN)/python packaging/cortex/build.py --output dist
	$(BIN)/python packaging/stackstorm/build.py --output dist
	$(BIN)/python packaging/n8n/build.py --output dist

$(VENV)/playbook: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[html,playbook]'
	touch $@

.venvs/appinspect/installed:
	$(PYTHON) -m venv .venvs/appinspect
	.venvs/appinspect/bin/python -m pip install --quiet --disable-pip-version-check 'splunk-appinspect>=4.3,<4.4'
	touch $@

schemathesis: .venvs/schemathesis/installed  ## the tool that tests the webhook by its OpenAPI document

.venvs/schemathesis/installed:
	$(PYTHON) -m venv .venvs/schemathesis
	.venvs/schemathesis/bin/python -m pip install --quiet --disable-pip-version-check 'schemathesis>=4.4,<4.33'
	touch $@

.venvs/spark/installed:  ## Spark, 500 MB, for the tests of cbsigned backfill --engine spark (needs Java)
	$(PYTHON) -m venv .venvs/spark
	.venvs/spark/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=22'
	.venvs/spark/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[spark]'
	touch $@

$(VENV)/dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .venvs build dist demo-out
