# Everything sets itself up: a virtual environment in .venv, and for the tests real servers.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= ipam-data
PORT ?= 8000
SEEDS ?= 1000
FROM ?= 1
SEED ?= 1
MINUTES ?= 20
ROUNDS ?= 3
SWAGGER_UI ?= 5.35.0
BENCH ?=

.PHONY: help run test test-long simulate simulate-mistakes faults chaos fuzz bench bench-events bench-growth bench-fairness check format lock vendor test-servers clean
.DEFAULT_GOAL := help

help:  ## Say what can be made.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.installed-run  ## Install, then run everything embedded, on PORT (8000); Ctrl-C stops it.
	@exec $(BIN)/ipam up --data $(DATA) --port $(PORT)

test: $(VENV)/.installed-dev test-servers  ## Install, then run the tests against real servers.
	$(BIN)/python -m pytest

test-long: $(VENV)/.installed-dev test-servers  ## Run the tests that `make test` leaves out, for they take long.
	$(BIN)/python -m pytest -m long

simulate: $(VENV)/.installed-dev  ## Live through SEEDS (1000) histories of crashes, from seed FROM (1).
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --from $(FROM)

simulate-mistakes: $(VENV)/.installed-dev  ## Show that the simulation sees mistakes that are put into the code.
	@$(BIN)/python -m tests.simulation.mistakes

faults: $(VENV)/.installed-dev test-servers  ## Kill each process ROUNDS (3) times, with both brokers, at times drawn from SEED (1).
	@IPAM_TEST_ROUNDS=$(ROUNDS) IPAM_TEST_SEED=$(SEED) $(BIN)/python -m pytest -m "" tests/faults

chaos: $(VENV)/.installed-dev test-servers  ## Stop buses and kill relays under load, at times drawn from SEED (1).
	@$(BIN)/python -m tests.chaos --seed $(SEED)

fuzz: $(VENV)/.installed-dev test-servers  ## Send requests that nobody would send for MINUTES (20), drawn from SEED (1).
	@$(BIN)/python -m tests.fuzz --minutes $(MINUTES) --seed $(SEED)

bench: $(VENV)/.installed-bench test-servers  ## Measure ipam beside what bounds it, and write a report; BENCH=--quick for a look.
	@$(BIN)/python -m benchmarks $(BENCH)

bench-events: $(VENV)/.installed-dev test-servers  ## Measure what events cost, and how soon a bus hears of them.
	@$(BIN)/python -m benchmarks.events

bench-growth: $(VENV)/.installed-bench test-servers  ## Measure each route with next to nothing and with 200,000 leases.
	@$(BIN)/python -m benchmarks.growth

bench-fairness: $(VENV)/.installed-bench test-servers  ## Measure small requests while the largest allowed work goes on.
	@$(BIN)/python -m benchmarks.fairness

check: $(VENV)/.installed-dev  ## Lint, types, import layers, deployment files.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev  ## Format the code and fix what can be fixed.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: | $(BIN)/pip  ## Bring requirements/*.txt, with hashes, to the newest releases that pyproject.toml allows.
	@sh scripts/lock $(BIN)

vendor:  ## Fetch Swagger UI of the version SWAGGER_UI with npm, and note its checksums.
	@sh scripts/vendor $(SWAGGER_UI)

test-servers:  ## Install the servers that the tests need and this machine lacks.
	@sh scripts/install-test-servers

clean:  ## Remove the virtual environment and caches; the data stays.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info

$(BIN)/pip:
	@PYTHON=$(PYTHON) sh scripts/create-venv $(VENV)

# What is installed is what the lock files say, by version and hash, and nothing is fetched to build ipam itself.
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check

$(VENV)/.installed-run: requirements/embedded.txt pyproject.toml | $(BIN)/pip
	@echo "installing ipam into $(VENV) (about a minute the first time) ..."
	@$(INSTALL) --require-hashes -r $<
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: requirements/dev.txt pyproject.toml | $(BIN)/pip
	@echo "installing ipam and its tools into $(VENV) (about a minute the first time) ..."
	@$(INSTALL) --require-hashes -r $<
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.installed-run

$(VENV)/.installed-bench: $(VENV)/.installed-dev
	@$(INSTALL) --no-build-isolation -e '.[bench]'
	@touch $@
