.PHONY: docs help setup figure lint services test
.DEFAULT_GOAL := help

# Tried in this order; the first that is new enough makes the environment. To choose: make setup PYTHON=/path/to/python3
PYTHON ?= python3 python3.11 python3.12 python3.13 python3.14
PY := .venv/bin/python
INSTALLED := .venv/.installed
# Exists from before the first change to .venv until after the last: who finds it knows that the set-up was cut off.
UNFINISHED := .venv/.unfinished
PIP := $(PY) -m pip --disable-pip-version-check install --quiet

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: $(INSTALLED)  ## install the pinned packages and gfn_vi into .venv (again: nothing to do)

figure: $(INSTALLED)  ## train the quickstart experiment on all cores, draw its figure, say where it is
	$(PY) scripts/train.py -m experiment=quickstart hydra/launcher=local
	$(PY) scripts/figure.py experiment=quickstart

docs: $(INSTALLED)  ## build the site into build/site; a link that leads nowhere ends it
	$(PY) -m mkdocs build --strict
	@echo "build/site/index.html; with its search: $(PY) -m http.server --directory build/site"

lint: $(INSTALLED)  ## ruff (rules and format) and mypy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# What some tests use and are skipped without, aloud. Elsewhere than on Debian or Ubuntu, or not as root: by other means.
services:  ## install Slurm and Chromium (Debian or Ubuntu, as root), for the tests on a real cluster and in a real browser
	@command -v slurmctld >/dev/null || bash scripts/clusters/slurm.sh install || echo "make services: no Slurm: its tests will be skipped" >&2
	@command -v chromium >/dev/null || sh scripts/install_chromium.sh || echo "make services: no Chromium: its test will be skipped" >&2

test: lint  ## lint, then every test on two processes
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2

$(INSTALLED): requirements.lock setup.cfg pyproject.toml
	@if [ -e $(UNFINISHED) ]; then \
	    echo "The last set-up did not finish: making .venv anew."; \
	    find .venv -mindepth 1 ! -path $(UNFINISHED) -delete; \
	fi
	@if ! $(PY) -m pip --version >/dev/null 2>&1; then \
	    for candidate in $(PYTHON); do \
	        if "$$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	            mkdir -p .venv && touch $(UNFINISHED) && exec "$$candidate" -m venv .venv; \
	        fi; \
	    done; \
	    echo "make setup: none of '$(PYTHON)' is a Python >= 3.11 with venv: install one (Debian: python3-venv too) or name it with PYTHON=/path/to/python3" >&2; \
	    exit 1; \
	fi
	@touch $(UNFINISHED) && rm -f $(INSTALLED)
	@echo "Installing the pinned packages into .venv: 1 to 5 minutes and 2 GB the first time (more where torch comes with CUDA)."
	$(PIP) -r requirements.lock
	$(PIP) --no-deps --editable .
	@mv $(UNFINISHED) $(INSTALLED)
