# Every target sets itself up: all it needs is make, git and a Python 3.11, 3.12 or 3.13 with venv.
# A stamp file per set of packages keeps a second run from installing again until pyproject.toml changes.

SUPPORTED = import sys, ensurepip, sqlite3; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	"$$p" -c '$(SUPPORTED)' 2>/dev/null && { echo "$$p"; break; }; done)
VENV = .venv
RUN = $(VENV)/bin/python
INSTALL = $(RUN) -m pip install --quiet --disable-pip-version-check

# Tests mostly wait for processes, so more of them than cores. ARGS goes to pytest: make test ARGS="-k lease".
WORKERS = 4
ARGS =

# Versions of Hermes for test-hosts, of those in tests/versions/environments.py; each gets an environment, once.
HOSTS = all

unexport PYTHONHOME PYTHONPATH

.PHONY: help demo test test-hosts check bench pictures clean

help: ## List the targets (the default)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.demo ## See a board survive crashes, in under a minute
	@$(RUN) -m hermes_kanban_plugin.demo

test: $(VENV)/.test ## Run the whole suite (ARGS="-k lease" for a part of it)
	$(RUN) -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

test-hosts: $(VENV)/.test ## Run the plugin in every supported Hermes (HOSTS="0.13.0 0.19.0" for some)
	HOSTS="$(HOSTS)" $(RUN) -m pytest -n 2 --dist loadscope $(ARGS) tests/versions

check: $(VENV)/.check ## Lint, format, types and import rules
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) -m pytest --quiet tests/unit/test_import_rules.py

bench: $(VENV)/.test ## Measure against the host and against bare SQLite
	$(RUN) -m bench

pictures: $(VENV)/.demo ## Draw the terminal pictures of the documentation anew
	$(RUN) -m bench.pictures

clean: ## Remove everything that the other targets made
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.created:
	@"$(or $(PYTHON),no-python)" -c '$(SUPPORTED)' 2>/dev/null || { echo >&2 \
		"make: no Python 3.11, 3.12 or 3.13 with venv and sqlite3 found; install one, or name it: make PYTHON=..."; exit 1; }
	"$(PYTHON)" -m venv --clear $(VENV)
	@touch $@

$(VENV)/.demo: pyproject.toml | $(VENV)/.created
	@echo "installing into $(VENV) (once)"
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/.created
	@echo "installing into $(VENV) (once)"
	@$(INSTALL) --editable '.[test]'
	@touch $@ $(VENV)/.demo

$(VENV)/.check: pyproject.toml | $(VENV)/.created
	@echo "installing into $(VENV) (once)"
	@$(INSTALL) --editable '.[test,check]'
	@touch $@ $(VENV)/.test $(VENV)/.demo
