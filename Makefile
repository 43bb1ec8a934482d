# Every target sets up .venv by itself, and again only when pyproject.toml changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
DOCS_STAMP := $(VENV)/.ready-docs

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format bench docs image clean

help:
	@echo 'make demo    set up, simulate a sky, separate it; says where the report is'
	@echo 'make test    everything that must pass: style, imports, types, tests, examples'
	@echo 'make lint    the part of it that takes seconds: style, imports, types'
	@echo 'make format  put the code into the style that lint expects'
	@echo 'make bench   benchmarks, with timings'
	@echo 'make docs    build the documentation into site/'
	@echo 'make image   draw the picture of the README again'
	@echo 'make setup   only set up .venv (PYTHON=python3.12 chooses the interpreter)'
	@echo 'make clean   remove .venv and everything that was built'

setup: $(STAMP)

# Debian splits ensurepip from Python: without it, the pip that is there installs one into .venv.
define MAKE_VENV
if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv $(VENV); \
else $(PYTHON) -m venv --without-pip $(VENV) && \
  $(PYTHON) -m pip --quiet --python $(BIN)/python install pip || \
  { echo 'Python has neither ensurepip nor pip: install python3-venv'; exit 1; }; \
fi
endef

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "skysift needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": try make PYTHON=python3.12")'
	@echo 'setting up $(VENV), which takes a minute or two'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV); $(MAKE_VENV); }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/skysift simulate c1d1s1 --nside 64 --instrument LiteBIRD --noise-ratio 0 --seed 0 \
	  --overwrite -o demo/sky
	$(BIN)/skysift separate demo/sky --mask GAL020 --noise unit --overwrite --patches.beta-dust nside:64 \
	  --patches.temp-dust nside:32 --patches.beta-pl nside:16 -o demo/ptep
	@echo 'The report, one page for any browser: $(CURDIR)/demo/ptep/report.html'

test: lint
	$(BIN)/pytest --numprocesses 2 --dist loadfile --doctest-modules src tests

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo
	$(BIN)/pyright

format: $(STAMP)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(STAMP)
	$(BIN)/pytest benchmarks --benchmark-enable

$(DOCS_STAMP): $(STAMP)
	@$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@

docs: $(DOCS_STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

image: demo
	$(BIN)/python tools/make_readme_image.py demo/ptep docs/images/ptep.png

clean:
	rm -rf $(VENV) demo site build dist .pytest_cache .ruff_cache .hypothesis .benchmarks .import_linter_cache
	find src tests benchmarks tools -name __pycache__ -type d -prune -exec rm -rf {} +
