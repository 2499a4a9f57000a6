# Every door into this checkout; `make` alone lists them. Recipes are POSIX sh and use relative paths only, so that a
# checkout may stand in a folder with spaces or Chinese characters, and may be moved.

.DEFAULT_GOAL := help
.PHONY: help venv demo test check check-style check-types check-layers check-house bench export-campaign subjects-campaign rotation-campaign leaks foreign faults docs lock clean

# Nothing is written outside the checkout and the temporary directory. What a shell exports for other projects must
# neither redirect this installation nor lend it modules.
export PIP_CACHE_DIR := .venv/cache
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONHOME PYTHONPATH PIP_PREFIX PIP_REQUIRE_VIRTUALENV PIP_TARGET PIP_USER VIRTUAL_ENV

RUN := .venv/bin/python
PIP := $(RUN) -m pip --quiet --quiet install
# Hashes decide what is installed, wherever it comes from; wheels only, so that no build script of a stranger runs.
LOCKED := $(PIP) --require-hashes --only-binary :all:
# No --emit option: the locks name versions and hashes, never an address.
COMPILE = "$$uv" --no-config --quiet pip compile --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-header $(if $(UPGRADE),--upgrade)

# A venv holds absolute paths: after a move of the checkout, the loss of its interpreter, or another PYTHON=, it is stale.
$(shell { [ "$$(sed -n 1p .venv/stamps/python)" = "$$(pwd -P)" ] && .venv/bin/python -c 'import pip' && \
	{ [ -z "$(PYTHON)" ] || [ "$$(sed -n 2p .venv/stamps/python)" = "$(PYTHON)" ]; }; } >/dev/null 2>&1 || rm -rf .venv/stamps)

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r name text; do \
	  printf '%-22s %s\n' "$$name" "$$text"; done

venv: .venv/stamps/test ## create .venv with everything, test tools too (PYTHON=/path/to/python3 chooses the interpreter)
	@:

demo: .venv/stamps/run ## show guard at work on throw-away data (ONCE=1: do not stay up; LOG=path: read your own web log)
	@.venv/bin/guard demo $(if $(filter-out 0,$(ONCE)),--once) $(if $(LOG),--log "$(LOG)")

test: .venv/stamps/test ## run the whole test suite (ARGS='-k name' goes to pytest)
	@$(RUN) -m pytest -n 2 --dist loadscope $(ARGS)

check: check-style check-types check-layers check-house ## lint, format, types, layers and house rules

check-style: .venv/stamps/test
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .

check-types: .venv/stamps/test
	@$(RUN) -m mypy

check-layers: .venv/stamps/test
	@.venv/bin/lint-imports --no-logo

check-house: .venv/stamps/test
	@$(RUN) -m pytest -n 2 --dist loadscope tests/house

bench: .venv/stamps/test ## measure against peers in the same run (ONLY=name: one of them)
	@$(RUN) -m tests.bench $(if $(ONLY),--only $(ONLY))

export-campaign: .venv/stamps/test ## export a log of COUNT=1000000 records while writers write (FORMAT=jsonl); memory and speed
	@$(RUN) -m tests.bench.export_campaign --count $(or $(COUNT),1000000) --format $(or $(FORMAT),jsonl)

subjects-campaign: .venv/stamps/test ## keys of COUNT=1000000 persons: bytes a row, memory and speed
	@$(RUN) -m tests.bench.subjects_campaign --count $(or $(COUNT),1000000)

rotation-campaign: .venv/stamps/test ## rotate a key under COUNT=1000000 sealed rows with writers and KILLS=20 kill -9
	@$(RUN) -m tests.bench.rotation_campaign --count $(or $(COUNT),1000000) --kills $(or $(KILLS),20)
leaks: .venv/stamps/test ## plant COUNT=10000 values and all keys, then search every byte that guard wrote for them
	@$(RUN) -m tests.vault.leaks --count $(or $(COUNT),10000)

foreign: .venv/stamps/test ## verify logs with other people's tools (COUNT=100000 records through the API)
	@$(RUN) -m tests.audit.foreign $(COUNT)

faults: .venv/stamps/test ## cut the power, kill, fill the disk: nothing acknowledged is lost (ROUNDS=100: all of it; ONLY=name)
	@$(RUN) -m tests.faults $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ONLY),--only $(ONLY))

docs: .venv/stamps/test ## check that each link and each command shown in the documentation works
	@$(RUN) -m pytest tests/house/test_docs.py

lock: .venv/stamps/python ## write the lock files anew from pyproject.toml; needs uv (UPGRADE=1: newer versions)
	@uv=$$(command -v uv || command -v .venv/bin/uv) || { echo "make lock needs uv: $(RUN) -m pip install uv" >&2; exit 69; }; \
	set -e; \
	$(COMPILE) -o requirements.txt pyproject.toml; \
	$(COMPILE) -o requirements-test.txt --extra test -c requirements.txt pyproject.toml; \
	$(RUN) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
	  | $(COMPILE) -o requirements-build.txt -c requirements.txt -c requirements-test.txt -

clean: ## remove .venv, caches and everything built
	@rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache bench.json
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The interpreter's own path is asked for, so that a venv which is active in the calling shell never becomes its own root.
.venv/stamps/python:
	@if [ -n "$$PYTHON" ]; then set -- "$$PYTHON"; else set -- python3.14 python3.13 python3.12 python3.11 python3; fi; \
	python=; bare=; \
	for name do \
	  "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  python=$$("$$name" -c 'import ensurepip, sys, venv; print(sys._base_executable)' 2>/dev/null) && break; \
	  python=; bare=$${bare:-$$name}; \
	done; \
	if [ -n "$$bare" ] && [ -z "$$python" ]; then \
	  echo "$$bare cannot create virtual environments; install its venv module (Debian: apt install python3-venv) and try again." >&2; exit 69; \
	elif [ -z "$$python" ]; then \
	  echo "guard needs Python 3.11 or newer, and none of these is one: $$*. Install it, or name it with PYTHON=/path/to/python3." >&2; exit 69; \
	fi; \
	rm -rf .venv/bin .venv/lib .venv/lib64 .venv/include .venv/pyvenv.cfg .venv/stamps && \
	"$$python" -m venv .venv && mkdir -p .venv/stamps && { pwd -P; echo "$$PYTHON"; } > $@

.venv/stamps/locked: requirements.txt requirements-build.txt .venv/stamps/python
	@echo "installing the locked packages into .venv" >&2
	@$(LOCKED) -r requirements-build.txt -r requirements.txt
	@touch $@

# Editable mode is refused together with hashes, so guard itself is installed on its own, from here and from no index.
.venv/stamps/run: pyproject.toml .venv/stamps/locked
	@$(PIP) --no-index --no-deps --no-build-isolation --editable .
	@touch $@

.venv/stamps/test: requirements-test.txt .venv/stamps/run
	@echo "installing the locked test tools into .venv" >&2
	@$(LOCKED) -r requirements-test.txt
	@touch $@
