# make demo   set up, get the data, train, evaluate, report: about a minute
# make test   set up and run the tests
# make dev    set up the environment that tests and checks need, and nothing more
# make test-all  run the rest of the tests: every injected fault, and the slow ones
# make check  lint, types, import contracts
# make docs   the documentation as a site, in dist/docs
# make linkcheck  ask every site that the documentation links
# make gallery  finished pages to look at, in docs/gallery
# make help   all targets

VENV  := .venv
BIN   := $(VENV)/bin
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)
# A Python from 3.11 on; make PYTHON=... names another.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# Where else to look for torch, when the CPU build is not in pip's own places: make TORCH_INDEX=URL
TORCH_INDEX ?=
PIP   := $(BIN)/python -m pip --disable-pip-version-check --quiet install
MODISTE := $(BIN)/modiste

export PIP_CONSTRAINT := $(CURDIR)/constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-all dev torture check docs linkcheck gallery data postgresql chromium browser-runtime lock sbom audit record peers clean

help:
	@echo "make demo        train a small network for seconds, evaluate it, write its report"
	@echo "make test        run the tests"
	@echo "make test-all    run the rest of the tests: every injected fault, and the slow ones"
	@echo "make dev         set up the environment that tests and checks need, without running them"
	@echo "make check       lint, types, import contracts"
	@echo "make docs        build the documentation site in dist/docs, without a warning"
	@echo "make linkcheck   check the documentation's links to other sites, over the internet"
	@echo "make gallery     build the pages of docs/gallery that are stale: minutes, or seconds while runs/gallery is kept"
	@echo "make torture     run the tests with thousands of faults of each kind, at most MINUTES=10 for each"
	@echo "make data        find or download Fashion-MNIST, and verify it"
	@echo "make postgresql  install PostgreSQL from Debian; without it the tests that need it are skipped"
	@echo "make chromium    install Chromium from Debian; without it the tests of the web page are skipped"
	@echo "make browser-runtime  fetch ONNX Runtime for browsers by npm; without it one test of the page is skipped"
	@echo "make lock        write constraints.lock again, after a change of constraints.txt"
	@echo "make sbom        write dist/modiste.cdx.json, a CycloneDX list of everything that is installed"
	@echo "make audit       look for known vulnerabilities in the packages of constraints.lock"
	@echo "make record      train the paper's recipe with three seeds and write records/paper (about an hour)"
	@echo "make peers       set up the tools that benchmarks compare Modiste with (gigabytes)"
	@echo "make clean       remove .venv, dist and caches; run folders stay"

demo: data
	$(MODISTE) train sprint --out runs/demo
	$(MODISTE) evaluate runs/demo --split test
	$(MODISTE) report runs/demo

# Tests read the data set, so that the environment comes with it.
dev: $(VENV)/.dev data

# Hundreds of processes import Modiste: its bytecode is kept, also where PYTHONDONTWRITEBYTECODE is set. Many tests wait
# for processes, so that two cores have work for more than two workers.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 3 --dist worksteal -q

test: dev
	$(PYTEST)

test-all: dev
	$(PYTEST) --in-full

MINUTES ?= 10
torture: dev
	MODISTE_TORTURE=$(MINUTES) $(PYTEST)

check: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# Outputs of the notebooks are kept in dist/notebooks until a cell or the library changes.
docs: dev
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -q -c docs -d dist/doctrees . dist/docs
	@echo "open dist/docs/index.html"

# Links inside the site are checked by its tests, which need no network.
linkcheck: dev
	@echo "asking every site that the documentation links; this needs the internet"
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -b linkcheck -q -D nb_execution_mode=off -c docs -d dist/linkcheck-doctrees . dist/linkcheck

# Exporting the classifier opens it in Chromium.
gallery: dev
	$(BIN)/python benchmarks/gallery.py

record: data
	$(BIN)/python benchmarks/paper_record.py
	$(BIN)/python benchmarks/readme_results.py

PEERS := benchmarks/peers
peers: data $(patsubst $(PEERS)/%.txt,$(PEERS)/.venvs/%/.done,$(wildcard $(PEERS)/*.txt))

$(PEERS)/.venvs/%/.done: $(PEERS)/%.txt
	@echo "setting up $(@D)"
	@$(PYTHON) -m venv --clear $(@D)
	@env --unset=PIP_CONSTRAINT $(@D)/bin/python -m pip --disable-pip-version-check --quiet install --requirement $<
	@touch $@

# Debian's package is the way out where nothing can be downloaded and this user may install.
data: $(VENV)/.demo
	@$(MODISTE) data || { \
		as_root=$$([ "$$(id -u)" = 0 ] || echo "sudo -n"); \
		command -v apt-get >/dev/null && $$as_root true 2>/dev/null || exit 3; \
		echo "trying Debian's package dataset-fashion-mnist"; \
		{ $$as_root apt-get update && $$as_root apt-get install --yes dataset-fashion-mnist; } >/dev/null && $(MODISTE) data; }

# Installs a package of Debian's, as root or as somebody who may act as root.
from_debian = as_root=$$([ "$$(id -u)" = 0 ] || echo "sudo -n"); echo "installing $(1)"; \
	{ $$as_root apt-get update && $$as_root apt-get install --yes --no-install-recommends $(1); } >/dev/null

postgresql:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { $(call from_debian,postgresql); }

chromium:
	@command -v chromium >/dev/null || { $(call from_debian,chromium); }

browser-runtime: dev
	-@$(BIN)/python -c "from modiste.exports.onnxruntime_web import load_runtime; load_runtime()"

clean:
	rm -rf $(VENV) $(PEERS)/.venvs .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .schemathesis .grimp_cache dist docs/reference
	find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Modiste needs Python 3.11 or later; none was found (make PYTHON=... names one)"; exit 1; }
	@echo "setting up $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing; on Debian: apt install python3-venv"; exit 1; }

# Without an NVIDIA GPU the CPU build is asked for first: the default build for Linux brings gigabytes of CUDA.
$(VENV)/.torch: constraints.txt | $(BIN)/python
	@echo "installing torch $(TORCH)"
	@if [ -n "$(TORCH_INDEX)" ]; then $(PIP) --index-url $(TORCH_INDEX) torch==$(TORCH); \
	elif ! command -v nvidia-smi >/dev/null && $(PIP) --no-deps torch==$(TORCH)+cpu 2>/dev/null; then :; \
	else \
		[ "$$(uname)" != Linux ] || command -v nvidia-smi >/dev/null || \
			echo "no CPU build at hand, taking the default one, which is large; to avoid that: make TORCH_INDEX=(pytorch.org's CPU index)"; \
		$(PIP) torch==$(TORCH); \
	fi
	@touch $@

$(VENV)/.demo: pyproject.toml constraints.txt $(VENV)/.torch
	@echo "installing Modiste"
	@$(PIP) --editable '.[evaluation,export,report,search,serve]'
	@touch $@

# Every file that is installed has a hash that the lock knows, torch alone not: its builds are many, and lie elsewhere.
$(VENV)/.dev: pyproject.toml constraints.txt constraints.lock $(VENV)/.torch
	@echo "installing what the tests need"
	@PIP_CONSTRAINT= $(PIP) --no-deps --require-hashes --requirement constraints.lock
	@$(PIP) --no-build-isolation --editable '.[dev]'
	@touch $(VENV)/.demo $@

TOOLS := $(VENV)/tools
$(TOOLS)/.done: tools.txt | $(BIN)/python
	@$(PYTHON) -m venv --clear $(TOOLS)
	@PIP_CONSTRAINT= $(TOOLS)/bin/python -m pip --disable-pip-version-check --quiet install --requirement tools.txt
	@touch $@

lock: $(TOOLS)/.done
	$(TOOLS)/bin/uv pip compile constraints.txt --no-deps --no-emit-package torch --generate-hashes --universal \
		--python-version 3.11 --no-header --no-annotate --quiet --output-file constraints.lock

sbom: $(VENV)/.dev $(TOOLS)/.done
	@mkdir -p dist
	$(TOOLS)/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --of JSON --output-reproducible \
		--output-file dist/modiste.cdx.json

audit: $(TOOLS)/.done
	$(TOOLS)/bin/pip-audit --requirement constraints.lock --no-deps --disable-pip --strict
