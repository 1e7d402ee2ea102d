# Everything below makes its own .venv; nothing but Python 3.11+ and make is needed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Many tests wait for a process or a socket: two of them for each core keep it busy.
ifndef PYTEST_XDIST_AUTO_NUM_WORKERS
export PYTEST_XDIST_AUTO_NUM_WORKERS := $(shell $(PYTHON) -c "import os; print(2 * (os.cpu_count() or 1))")
endif
# Where it is set, each of the thousands of processes that tests start would compile metlog anew.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test quick unit system engines hive check docs bench gate load node hadoop kill format clean help

help:           ## show this
	@grep -E '^[a-z]+: .*##' Makefile | sed -E 's/:.*## /\t/'

demo: $(VENV)/.demo             ## the whole way: listener, sample application, SQL answers
	@$(BIN)/metlog demo $(ARGS)

test: $(VENV)/.test             ## all tests, four processes on two cores, with branch coverage
	@$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=8 --dist=loadscope --no-loadscope-reorder --cov --cov-report=term $(ARGS)

engines: $(VENV)/.engines       ## Spark (needs Java 17) and ClickHouse beside DuckDB, over a million events
	@$(BIN)/python -m pytest tests/system/engines tests/unit/engines -m "not hive" -rP $(ARGS)

hive: $(VENV)/.engines          ## Hive 2.3 beside DuckDB (needs Java 17 with javac)
	@$(BIN)/python -m pytest tests/system/engines -m hive $(ARGS)

quick: $(VENV)/.unit            ## the unit tests, without those that start processes or take seconds
	@$(BIN)/python -m pytest -q --numprocesses=auto --maxprocesses=8 --dist=worksteal --hypothesis-profile=quick -m "not process and not slow" tests/unit $(ARGS)

unit: $(VENV)/.unit             ## the unit tests
	@$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=8 --dist=loadscope --no-loadscope-reorder tests/unit $(ARGS)

system: $(VENV)/.test           ## real processes, kills, servers, and every block of the documentation
	@$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=8 --dist=loadscope --no-loadscope-reorder tests/system tests/docs $(ARGS)

check: $(VENV)/.check           ## format, lint, types, import rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(VENV)/.docs             ## the site, warnings as errors, into docs/_build/html
	@$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(VENV)/.bench           ## the microbenchmarks beside their peers
	@$(BIN)/metlog bench $(ARGS)

gate: $(VENV)/.bench            ## ratios that must hold, within one run
	@$(BIN)/python benchmarks/gate.py

load: $(VENV)/.test             ## 200,000 events/s for a minute to a listener, judged by SQL over its Parquet files
	@$(BIN)/python benchmarks/listener_load.py --seconds 60 $(ARGS)

hadoop: $(VENV)/.engines $(VENV)/hadoop ## from an event over a real HDFS to SQL by Spark (downloads 220 MB; needs Java 17)
	@METLOG_TEST_HADOOP=$(abspath $(VENV)/hadoop) $(BIN)/python -m pytest tests/system/hadoop -rP $(ARGS)

kill: $(VENV)/.test             ## listeners of one Kafka group killed at random, their events counted by SQL
	@$(BIN)/python -m tests.system.cluster.kill $(ARGS)

node:                           ## the Node.js client: compile it, run its tests on this machine's Node.js and on a newer one
	@clients/node/ci.sh test

format: $(VENV)/.check          ## put the code in form
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:          ## remove what was made
	rm -rf clients/node/dist clients/node/node_modules clients/node/.nodes
	rm -rf $(VENV) docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "metlog needs Python 3.11 or newer; say make PYTHON=python3.12 …")'
	@$(PYTHON) -m venv $(VENV)

# A stamp a purpose: installed once, and again when pyproject.toml changes.
$(VENV)/.demo: pyproject.toml | $(BIN)/python
	@echo "installing metlog and what the demo needs into $(VENV) …"
	@$(PIP) install -e '.[web]'
	@touch $@

$(VENV)/.unit: pyproject.toml | $(BIN)/python
	@echo "installing metlog and what the unit tests need into $(VENV) …"
	@$(PIP) install -e '.[all,unit]'
	@touch $@ $(VENV)/.demo

$(VENV)/.test: pyproject.toml | $(BIN)/python
	@echo "installing metlog and what the tests need into $(VENV) …"
	@$(PIP) install -e '.[all,test]'
	@touch $@ $(VENV)/.demo $(VENV)/.unit

$(VENV)/.engines: pyproject.toml $(VENV)/.test | $(BIN)/python
	@echo "installing the engines into $(VENV) (pyspark is 450 MB) …"
	@$(PIP) install -e '.[all,test,engines-test]'
	@touch $@

$(VENV)/.check: pyproject.toml $(VENV)/.test | $(BIN)/python
	@echo "installing the linters into $(VENV) …"
	@$(PIP) install -e '.[all,test,lint]'
	@touch $@

$(VENV)/.docs: pyproject.toml | $(BIN)/python
	@echo "installing metlog and Sphinx into $(VENV) …"
	@$(PIP) install -e '.[all,docs]'
	@touch $@

$(VENV)/.bench: pyproject.toml | $(BIN)/python
	@echo "installing metlog and the peers into $(VENV) …"
	@$(PIP) install -e '.[bench]'
	@touch $@

# Hadoop's jars out of pyspark 2.4.8; its setup.py wants old tools.
$(VENV)/hadoop:
	@echo "fetching Hadoop 2.7 out of pyspark 2.4.8 (220 MB) …"
	@rm -rf $(VENV)/hadoop-tools $(VENV)/hadoop-jars && $(PYTHON) -m venv $(VENV)/hadoop-tools && mkdir -p $(VENV)/hadoop-jars
	@$(VENV)/hadoop-tools/bin/python -m pip -q --disable-pip-version-check install 'setuptools<70' wheel 'pypandoc==1.7.5'
	@cd $(VENV)/hadoop-tools && bin/python -m pip -q --disable-pip-version-check download --no-deps --no-build-isolation 'pyspark==2.4.8'
	@tar xzf $(VENV)/hadoop-tools/pyspark-2.4.8.tar.gz -C $(VENV)/hadoop-jars --strip-components=3 --wildcards 'pyspark-2.4.8/deps/jars/*'
	@rm -rf $(VENV)/hadoop-tools && mv $(VENV)/hadoop-jars $@
