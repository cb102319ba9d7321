# `make serve`, `make test` and `make check` set up what they need; PYTHON chooses the interpreter.
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 3000
DATA ?= data
FLAVOR ?= tensorrt
# The folder of artifacts that `make serve` serves.
ARTIFACTS ?= $(or $(LATENTSERVE_ARTIFACTS),artifacts)

SERVE := .venv-serve
FULL := .venv
# The libraries of the two flavors of TensorRT define the same symbols: an environment each.
GPU := .venv-$(FLAVOR)
PIP := -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: serve bundle install test test-again test-gpu check format docs docs-check fuzz reliability soak audit clean

# `exec`: stopping make stops the server.
serve: $(SERVE)/.ready
	exec $(SERVE)/bin/latentserve serve --host $(HOST) --port $(PORT) --artifacts '$(ARTIFACTS)'

# The service and the folder that it serves, as a Bento (docs/operations.md).
bundle: $(SERVE)/.ready
	$(SERVE)/bin/latentserve bundle --artifacts '$(ARTIFACTS)'

# Everything, torch included, in .venv: for `python -m train`, `export` and `benchmarks`.
install: $(FULL)/.ready

# Where Python is told to keep no bytecode, as in many containers, every process of the tests would
# compile all of them, and all of ours, anew.
test: $(FULL)/.ready
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(FULL)/bin/python -m pytest --numprocesses auto

# Only the tests that failed last, one after another.
test-again: $(FULL)/.ready
	OMP_NUM_THREADS=1 $(FULL)/bin/python -m pytest --last-failed --last-failed-no-failures none --maxfail 5

# On a machine with an NVIDIA GPU: every backend against the CPU's, and a short benchmark. Without
# one, or without a library, what needs it is skipped, and the last lines say why.
# FLAVOR=tensorrt-rtx is for RTX cards; INDEX is the package index with TensorRT's libraries.
# TensorRT's libraries are not on PyPI: where they cannot be installed, the rest goes on.
test-gpu: $(GPU)/.ready
	-$(GPU)/bin/python $(PIP) --editable '.[$(FLAVOR)]' $(INDEX:%=--extra-index-url %)
	$(GPU)/bin/python -m pytest tests/gpu

check: $(FULL)/.ready
	$(FULL)/bin/ruff format --check .
	$(FULL)/bin/ruff check .
	$(FULL)/bin/pyright
	$(FULL)/bin/lint-imports

format: $(FULL)/.ready
	$(FULL)/bin/ruff format .
	$(FULL)/bin/ruff check --fix .

# The documentation as a site: build/site/index.html. It needs no network, and warnings are errors.
docs: $(FULL)/.ready
	NO_MKDOCS_2_WARNING=1 $(FULL)/bin/python -m mkdocs build --strict

# The documentation's code blocks that train, and so need the data sets: make docs-check DATA=data
docs-check: $(FULL)/.ready
	OMP_NUM_THREADS=2 $(FULL)/bin/python -m tests.docs $(DATA)

# 20,000 requests that no honest client sends, and 100,000 damaged or forged artifacts.
fuzz: $(FULL)/.ready
	$(FULL)/bin/python -m tests.runtime.mutations 100000
	$(FULL)/bin/python -m tests.bento.fuzz 20000

# Faults and load, in full; writes docs/reliability.md. `soak` is its last part alone: 30 minutes.
reliability: $(FULL)/.ready
	$(FULL)/bin/python -m tests.reliability

soak: $(FULL)/.ready
	$(FULL)/bin/python -m tests.reliability --only Soak

# Known advisories of what is installed. Apart from `check`: a new one breaks no unchanged tree.
audit: $(FULL)/.ready
	$(FULL)/bin/python -m pip_audit --skip-editable

# Serving needs no torch: this environment has none.
$(SERVE)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(SERVE)
	$(SERVE)/bin/python $(PIP) --editable '.[onnx,openvino,serve,volumes]'
	touch $@

$(FULL)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(FULL)
	$(FULL)/bin/python $(PIP) --editable '.[onnx,openvino,serve,parquet,volumes,remote,train,export,diffusers,spandrel,benchmarks,docs,dev,tensorrt-rtx]'
	touch $@

$(GPU)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(GPU)
	$(GPU)/bin/python $(PIP) --editable '.[onnx-gpu,train,export,benchmarks,dev]'
	touch $@

clean:
	rm -rf $(SERVE) $(FULL) .venv-tensorrt .venv-tensorrt-rtx
