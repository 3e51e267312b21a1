# The commands of this repository. `make setup` once (and again whenever pyproject.toml or constraints.txt change: the
# other targets see to it); `make prove` for the main job; `make check test` before a commit, exactly as CI runs them.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# torch, pytest-xdist and every prover process bring their own parallelism: two workers fill two cores
WORKERS ?= 2

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.PHONY: help setup engine prover prove check test format clean

help:
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16

setup: $(BIN)/.installed engine prover  ## virtual environment, pinned packages, Stockfish and Rocq where they may be installed

prove: setup  ## the main job on Rocq's library: extract, train, search, check, report
	@$(BIN)/surpass run proof_flow --preset small

check: $(BIN)/.installed  ## format, lint and types, changing nothing
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	$(BIN)/mypy

test: $(BIN)/.installed  ## every test, and what was skipped and why
	$(BIN)/pytest -q -ra -n $(WORKERS)

format: $(BIN)/.installed  ## rewrite the sources in the house format
	$(BIN)/ruff check --fix --quiet || true
	$(BIN)/ruff format --quiet

clean:  ## remove caches and the virtual environment; runs/ and corpora/ stay
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info

# True as root, or where sudo asks nothing; then APT installs one package, refreshing the lists only if that failed.
AS_ROOT = $(if $(filter 0,$(shell id -u)),,sudo -n)
CAN_APT = command -v apt-get >/dev/null && $(AS_ROOT) true 2>/dev/null
APT = $(AS_ROOT) env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends
define apt_install
echo "setup: installing $(1) with apt-get ..."; \
$(APT) $(1) >/dev/null 2>&1 || { $(AS_ROOT) apt-get update -qq >/dev/null && $(APT) $(1) >/dev/null; }
endef

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "setup: needs Python 3.11 or later, found $$($(PYTHON) --version); try: make setup PYTHON=python3.12" >&2; exit 1; }
	@if ! $(PYTHON) -c 'import ensurepip' 2>/dev/null; then \
		if $(CAN_APT); then $(call apt_install,python3-venv); \
		else echo "setup: $(PYTHON) has no venv module; as root: apt-get install python3-venv" >&2; exit 1; fi; fi
	@$(PYTHON) -m venv $(VENV)

$(BIN)/.installed: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "setup: installing the Python packages into $(VENV) (3 GB, one to five minutes) ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# where Debian puts engines; not in every PATH
GAMES ?= /usr/games

engine:
	@if PATH="$$PATH:$(GAMES)" command -v stockfish >/dev/null; then echo "setup: stockfish is there"; \
	elif $(CAN_APT); then { $(call apt_install,stockfish); } && echo "setup: stockfish is there" \
		|| echo "setup: apt-get could not install stockfish (message above); chess experts random and greedy work"; \
	else echo "setup: no Stockfish: 'apt-get install stockfish' needs root. Without it chess experts of the kinds random and" \
		"greedy work; matches with an engine and the tests marked stockfish do not."; fi

prover:
	@if command -v coqidetop.opt >/dev/null; then echo "setup: done; $$(coqc --version | head -n 1)"; \
	elif $(CAN_APT); then { $(call apt_install,coq); } && echo "setup: done; $$(coqc --version | head -n 1)" \
		|| echo "setup: apt-get could not install coq (message above); the embedded kernel works, Rocq does not"; \
	else echo "setup: no Rocq: 'apt-get install coq' needs root. Without it the embedded kernel, make prove on it," \
		"and make check work; problems of Rocq's library, surpass prove and the tests marked rocq do not."; fi
