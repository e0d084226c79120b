# Everything from a fresh clone: each target sets up what it needs in .venv.
#   make train   the main job: softmax regression on Fashion-MNIST
#   make test    the tests, the comparison with PyTorch included
#   make bench   ours against its peers and the limits of this machine, some 20 minutes;
#                make bench EXTRA=bench installs JAX, TensorFlow, Keras and scikit-learn for it
#   make hunt    sanitizers, broken files, kills, a full disk: half an hour, writes
#                tests/hunt/report.md; make hunt-quick: the same in a small size
#   make lint    ruff and mypy
#   make instructions   instruction counts of the kernels against those recorded (valgrind)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml _fastsoftmax_command.py $(shell find meson.build meson.options csrc fastsoftmax -type f -not -path '*/__pycache__/*')

.PHONY: train test bench instructions hunt hunt-quick lint clean

train: $(VENV)/installed
	@mkdir -p out
	$(BIN)/fastsoftmax train --save out/model.safetensors --plot out/curves.png --json out/history.json

# OpenBLAS's idle workers spin, and would take our threads' cores
test: export OPENBLAS_NUM_THREADS = 1
test: export FASTSOFTMAX_EXPECT_BACKENDS = cython,numba,numpy
test: $(VENV)/installed-test
	$(BIN)/pytest
	$(BIN)/pytest --doctest-modules --pyargs fastsoftmax
	$(BIN)/pytest benches --benchmark-disable

EXTRA ?= test
bench: $(VENV)/installed-$(EXTRA)
	$(BIN)/python -m benches.report

instructions: $(VENV)/installed-test
	$(BIN)/python benches/instructions.py

hunt hunt-quick: export OPENBLAS_NUM_THREADS = 1
hunt: $(VENV)/installed-hunt
	$(BIN)/python tests/hunt/run.py

hunt-quick: $(VENV)/installed-hunt
	$(BIN)/python tests/hunt/run.py quick

lint: $(VENV)/installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python $(SOURCES)
	$(BIN)/pip install --quiet '.[plot]'
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/pip install --quiet '.[test]'
	@touch $@

$(VENV)/installed-bench: $(VENV)/installed
	$(BIN)/pip install --quiet '.[bench]'
	@touch $@

$(VENV)/installed-hunt: $(VENV)/installed-test
	$(BIN)/pip install --quiet '.[hunt]'
	@touch $@

$(VENV)/installed-lint: $(VENV)/installed
	$(BIN)/pip install --quiet '.[lint]'
	@touch $@

clean:
	rm -rf $(VENV) out
