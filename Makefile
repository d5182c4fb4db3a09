# make run    a virtual environment, a personal broker in ./.run, the scripts of examples/ through it, their output and accounting
# make test   all tests that can run here, in about ten minutes; what needs more says so
# make demo   three clouds that are not there: plan, failover, a machine that is taken back, and what it all cost; a minute, no account
# make lint   ruff and mypy
# make bench  the same work here and on a real Slurm, if one is installed: ratios
# make idioms programs that other people wrote for Slurm (snakemake, parsl, submitit ...), each installed and driven on ours
# make chaos  200 random kills of broker and agents under load
# make chaos-nodes 300 cuts, freezes and kills of hosts with a real sshd and of their agents, and 100 kills of the broker (root)
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml sbroker_main.py $(wildcard bin/* man/* templates/*) $(shell find sbroker slurm_compat -type f -not -name '*.pyc')
PYTEST := $(BIN)/python3 -m pytest

.PHONY: run demo test lint bench idioms chaos chaos-nodes clean

$(VENV)/.run: $(SOURCES)
	scripts/venv $(VENV)
	@touch $@

$(VENV)/.dev: $(SOURCES)
	scripts/venv $(VENV) dev
	@touch $@ $(VENV)/.run

demo: $(VENV)/.run
	scripts/run-demo $(BIN)

run: $(VENV)/.run
	scripts/run-examples $(BIN)

test: $(VENV)/.dev
	$(PYTEST) -q tests

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/python3 benchmarks/vs_slurm.py --ours $(BIN)

idioms: $(VENV)/.dev
	scripts/idioms
	$(PYTEST) -q -rs tests/idioms

chaos: $(VENV)/.dev
	$(BIN)/python3 -m tests.chaos.kills

chaos-nodes: $(VENV)/.dev
	$(BIN)/python3 -m tests.chaos.nodes

clean:
	rm -rf $(VENV) build .run .idioms
