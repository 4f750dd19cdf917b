# What Holdfast can do from a checkout. `make help` says it in short.
.DEFAULT_GOAL := help
.PHONY: help run test test-pythons chaos chaos-place proof fuzz mutants lint check bench bench-faults bench-overload bench-scale bench-sweeps faults load clean

# Another interpreter: make run PYTHON=python3.12
PYTHON ?= python3
# BROWSER=0 leaves the browser tests out, SURROUNDINGS=0 those with nginx, HAProxy, Caddy, PgBouncer, faketime and SPIN; WORKERS is how many
# tests run at once; ARGS goes to pytest.
BROWSER ?= 1
SURROUNDINGS ?= 1
WORKERS ?= 3
ARGS ?=
# The other Pythons that test-pythons looks for.
PYTHONS ?= python3.12 python3.13 python3.14
# How long the chaos lasts, and which one; another SEED makes other choices.
SECONDS ?= 180
SEED ?= $(shell date +%s)
# How many people walk about the pages while everything breaks.
WALKS ?= 1000
# How many people make the load, and for how long; LOAD_UI=1 shows Locust's page instead.
USERS ?= 200
MINUTES ?= 5
LOAD_UI ?= 0
PY := .venv/bin/python
# Where it is set, as in many images, every process would compile again what pip and the one before it have compiled.
unexport PYTHONDONTWRITEBYTECODE
URL ?= http://127.0.0.1:5001
LOG := .venv/install.log
FAULTS := benchmarks/faults
FAULT_ADAPTERS := $(FAULTS)/adapters
FAULT_LAYERS := $(FAULT_ADAPTERS)/python/.venv/installed $(FAULT_ADAPTERS)/litestar/.venv/installed $(FAULT_ADAPTERS)/node/node_modules/installed
SPEED := benchmarks/speed
LOAD := benchmarks/load

help: ## Say what can be done here
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

run: .venv/installed ## Start everything and say where to log in (PORT=5002 moves it, Ctrl-C stops it)
	@exec $(PY) -m app dev --with-parent

test: .venv/installed-dev ## Run every test (BROWSER=0 leaves the browser tests out, SURROUNDINGS=0 those with proxies and poolers)
	@[ "$(BROWSER)" = 0 ] || $(PY) -c 'import sys; from tests.servers.chromium import MISSING, find_chromium; sys.exit(None if find_chromium() else MISSING)'
	BROWSER=$(BROWSER) SURROUNDINGS=$(SURROUNDINGS) $(PY) -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

test-pythons: .venv/installed-dev ## Run the main job and the quick tests on each of PYTHONS that is here, from .venv-3.12 and so on
	@$(PY) -m tests.pythons $(PYTHONS)

chaos: .venv/installed-dev ## Run every race a thousand times and every fault on both databases, then break everything at random under load (SECONDS=180 SEED=1)
	MATRIX=full RACE_TRIALS=1000 PAUSE_TRIALS=15 $(PY) -m pytest -n $(WORKERS) --timeout 1800 tests/resilience tests/integration/test_read_your_writes.py $(ARGS)
	$(PY) -m tests.resilience.chaos --seconds $(SECONDS) --seed $(SEED)

chaos-place: .venv/installed-dev ## Let people walk about the pages while everything breaks: is each back where they were, with all they typed? (WALKS=1000 SEED=1)
	$(PY) -m tests.browser.walks --walks $(WALKS) --seed $(SEED) $(ARGS)

proof: .venv/installed-dev ## Verify the protocol by SPIN and the model in their largest bounds, and mutants and chaos against the model (hours)
	$(PY) -m tests.model.spin --long
	$(PY) -m tests.model.spin --break all
	$(PY) -m tests.model.session_protocol --fine
	$(PY) -m tests.resilience.mutants --model
	$(PY) -m tests.resilience.chaos --seconds 600 --seed $(SEED)

fuzz: .venv/installed-dev ## Ask a running site all its OpenAPI document says and does not (URL=http://127.0.0.1:5001 ARGS="--seconds 3600")
	$(PY) -m tests.fuzzing $(URL) $(ARGS)

mutants: .venv/installed-dev ## Switch each mechanism off in a copy of the project and run its test, which must fail (ten minutes)
	$(PY) -m tests.resilience.mutants $(ARGS)

lint: .venv/installed-dev ## Check style, types, import contracts, and that migrations match the models
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports
	$(PY) -m pytest -q tests/architecture/test_models.py

check: lint test ## What CI runs: lint, then test

bench: .venv/installed-dev $(SPEED)/.venv/installed ## Measure Holdfast beside five others, or another commit (ARGS="warm select --rounds 3 --against HEAD~1")
	$(PY) -m benchmarks.speed $(ARGS)

bench-faults: .venv/installed $(FAULTS)/.venv/installed $(FAULT_LAYERS) ## Run every session layer of benchmarks/faults through the same faults; the table goes to benchmarks/faults/RESULTS.md
	$(FAULTS)/.venv/bin/holdfast-faults $(or $(ARGS),compare)

faults: $(FAULTS)/.venv/installed ## Run a session layer of your own through the same faults (ARGS='run --start "node app.js {port} {redis}"')
	@$(FAULTS)/.venv/bin/holdfast-faults $(or $(ARGS),--help)

bench-overload: .venv/installed-dev ## Ask one web process for three times what it can serve (ARGS="--factor 2 --kind page")
	$(PY) -m benchmarks.overload $(ARGS)

bench-sweeps: .venv/installed-dev ## Run the sweeps on a million sessions while somebody works; the table goes to benchmarks/sweeps/RESULTS.md
	$(PY) -m benchmarks.sweeps $(ARGS)

bench-scale: .venv/installed-dev ## Compare a large database with an empty one, on both databases (ARGS="--deals 200000 --sessions 1000000")
	$(PY) -m benchmarks.scale $(ARGS)

load: .venv/installed $(LOAD)/.venv/installed ## Put people to work on a running site (URL=http://127.0.0.1:5001 USERS=200 MINUTES=5, LOAD_UI=1 for Locust's page)
	@$(PY) -m benchmarks.load $(URL) --users $(USERS) --minutes $(MINUTES) $(if $(filter-out 0,$(LOAD_UI)),--ui) $(ARGS)

clean: ## Remove what was installed and cached; data/ stays
	rm -rf .venv .venv-* $(FAULTS)/.venv $(FAULT_ADAPTERS)/*/.venv $(FAULT_ADAPTERS)/node/node_modules $(SPEED)/.venv $(LOAD)/.venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov

# The files below are stamps: pip runs again only when a lock file or pyproject.toml is newer than its stamp. The locks are complete, hence
# --no-deps: older pips look for the newest of what is wanted with an extra, and refuse it for its missing hash.
.venv/made:
	@command -v $(PYTHON) >/dev/null || { echo "Holdfast needs Python 3.11 or newer, and there is no $(PYTHON) here." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Holdfast needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another one: make run PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make a virtual environment: install its venv package (Debian, Ubuntu: apt-get install python3-venv)." >&2; exit 1; }
	@echo "Making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/installed: .venv/made requirements.lock pyproject.toml
	@echo "Installing the locked dependencies into .venv (only this first time; about a minute)"
	@$(call pip_install,--no-deps --require-hashes -r requirements.lock)
	@$(call pip_install,--no-deps --no-build-isolation -e .)
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.lock
	@echo "Installing what the tests need into .venv (only this first time)"
	@$(call pip_install,--no-deps --require-hashes -r requirements-dev.lock)
	@touch $@

# The peers of the comparisons, the conformance kit and Locust, in environments of their own: they want other versions than Holdfast does.
$(FAULTS)/.venv/installed $(FAULT_ADAPTERS)/python/.venv/installed $(FAULT_ADAPTERS)/litestar/.venv/installed $(SPEED)/.venv/installed $(LOAD)/.venv/installed: %/.venv/installed: .venv/made %/requirements.lock
	@echo "Installing what $* needs into $*/.venv (only this first time)"
	@$(PY) -m venv $(@D)
	@$(call pip_install,--no-deps --require-hashes -r $*/requirements.lock,$(@D)/bin/python)
	@[ ! -f $*/pyproject.toml ] || { $(call pip_install,--no-deps --no-build-isolation -e $*,$(@D)/bin/python); }
	@touch $@

# Without Node.js its layers are left out, and the table says so.
$(FAULT_ADAPTERS)/node/node_modules/installed: $(FAULT_ADAPTERS)/node/package-lock.json
	@if command -v npm >/dev/null; then echo "Installing what $(FAULT_ADAPTERS)/node needs (only this first time)"; \
	  cd $(@D)/.. && npm ci --no-audit --no-fund --silent && touch node_modules/installed; \
	else echo "There is no npm here: the layers of Node.js are left out."; fi

define pip_install
$(or $(2),$(PY)) -m pip --disable-pip-version-check install --retries 2 $(1) >$(LOG) 2>&1 || { \
  if grep -qE 'Retrying|Connection|resolution|timed out' $(LOG); \
  then echo "The package registry cannot be reached, so the dependencies cannot be installed. Is there a network? (pip's words: $(LOG))"; \
  else echo "The dependencies cannot be installed: $$(grep -m1 ERROR $(LOG)) (all of pip's words: $(LOG))"; fi >&2; exit 1; }
endef
