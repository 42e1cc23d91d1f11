# A machine needs Python 3.11 or newer with pip and venv, and make. Everything else is installed into .venv, locked and hashed.
#   make setup   install what the proxy needs        make check   ruff, mypy --strict, the house rules
#   make demo    start it and make real calls        make test    all tests; ARGS="tests/test_keys.py -k revoke" for some
#   make fuzz    what the HTTP interface says of itself, tried for some minutes; EXAMPLES=1000 for longer
#   make lock    resolve the dependencies anew (UPGRADE=--upgrade to move them)
#   make integrations   the clients of docs/integrations.md that its tests run, in a virtual environment of their own

ARGS ?=
JOBS ?= auto
UPGRADE ?=
VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/sh

# Named on the command line, or the first on the path that is new enough.
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$name" && break; done)

# uv does not read pip's variables; a mirror that is named for pip is meant for both.
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif

.PHONY: setup demo test fuzz check lock clean node integrations
.DELETE_ON_ERROR:

setup: $(VENV)/.installed

demo: $(VENV)/.installed
	@$(BIN)/orch demo $(ARGS)

test: $(VENV)/.installed-dev
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory -s node; else echo 'make: no npm here: the tests with the node SDK are skipped' >&2; fi
	@$(BIN)/python -m pytest -n $(JOBS) --maxprocesses 4 --dist loadfile $(ARGS)

# Asks /openapi.json far more often than the tests do; SEED=7 asks something else.
EXAMPLES ?= 100
SEED ?= 20
fuzz: $(VENV)/.installed-dev
	@API_EXAMPLES=$(EXAMPLES) API_SEED=$(SEED) $(BIN)/python -m pytest --timeout 0 tests/edge/openapi $(ARGS)

# What the tests with the OpenAI SDK for node need; without it they are skipped, with the reason.
NODE := tests/story/node
node: $(NODE)/node_modules/.package-lock.json

$(NODE)/node_modules/.package-lock.json: $(NODE)/package-lock.json
	@cd $(NODE) && npm ci --silent --no-audit --no-fund || echo 'make: npm could not install: the tests with the node SDK are skipped' >&2
	@test ! -e $@ || touch $@

# The Python clients of docs/integrations.md. Apart, because they pin what the proxy pins otherwise.
CLIENTS := langchain-openai llama-index-llms-openai-like llm
integrations: | $(BIN)/python
	@$(MAKE) --no-print-directory -s .venv-integrations/.installed \
		|| echo 'make: they could not be installed: the tests with these clients are skipped' >&2

.venv-integrations/.installed: requirements-integrations.lock
	@echo 'make: installing requirements-integrations.lock into .venv-integrations'
	@$(BIN)/python -m venv --clear .venv-integrations
	@$(call install,$<,.venv-integrations/bin/python)
	@touch $@

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_house.py tests/test_house_files.py

lock: $(BIN)/uv
	$(BIN)/uv pip compile -q $(UPGRADE) --generate-hashes --universal --no-annotate --no-header \
		--extra build pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q $(UPGRADE) --generate-hashes --universal --no-annotate --no-header \
		--extra build --extra dev --extra otel -c requirements.lock pyproject.toml -o requirements-dev.lock
	printf '%s\n' $(CLIENTS) | $(BIN)/uv pip compile -q $(UPGRADE) --generate-hashes --universal --no-annotate --no-header \
		--python-version 3.11 - -o requirements-integrations.lock
	echo uv | $(BIN)/uv pip compile -q $(UPGRADE) --generate-hashes --universal --no-annotate --no-header \
		--python-version 3.11 - -o bootstrap.lock

clean:
	rm -rf $(VENV) .venv-integrations .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	@test -n '$(PYTHON)' || { echo 'make: Python 3.11 or newer is needed; install it, or name it: make setup PYTHON=/path/to/python3.11' >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'make: $(PYTHON) is not Python 3.11 or newer' >&2; exit 1; }
	@'$(PYTHON)' -m venv $(VENV) || { rm -rf $(VENV); echo 'make: $(PYTHON) has no venv module; install it (Debian: python3-venv)' >&2; exit 1; }

$(BIN)/uv: bootstrap.lock | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r bootstrap.lock
	@touch $@

# uv is faster, pip does the same: where uv cannot be had, or cannot reach what pip can, pip installs from the same lock.
install = { $(MAKE) --no-print-directory -s $(BIN)/uv && $(BIN)/uv pip install -q --python $(or $(2),$(BIN)/python) --require-hashes --compile-bytecode -r $(1); } \
	|| { echo 'make: uv did not do it; installing with pip' >&2; $(or $(2),$(BIN)/python) -m pip install --quiet --disable-pip-version-check --require-hashes -r $(1); }

$(VENV)/.installed: requirements.lock bootstrap.lock pyproject.toml | $(BIN)/python
	@echo 'make: installing requirements.lock into $(VENV)'
	@$(call install,requirements.lock)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@echo 'make: installing requirements-dev.lock into $(VENV)'
	@$(call install,requirements-dev.lock)
	@touch $@
