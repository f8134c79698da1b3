# Each target prepares .venv by itself, from the pinned versions of constraints.txt.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed
DIFFRAX := .venv-diffrax
# One thread each: the work is many small tensors, and two test workers share the machine.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.PHONY: help install demo test coverage lint format bench recovery docs clean

help:
	@echo "make install   .venv with the pinned packages"
	@echo "make demo      learn two equations, with pictures in demo_output/"
	@echo "make test      the test suite"
	@echo "make lint      ruff, mypy, the import layers, the longest chains of imports and the words"
	@echo "make bench     comparisons with other packages (docs/benchmarks.md)"
	@echo "make recovery  errors of estimates over ten seeds (minutes)"
	@echo "make docs      the documentation, in docs/_build/html"
	@echo "make coverage, make format, make clean"

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: $(STAMP)
	$(ONE_THREAD) MPLBACKEND=Agg $(BIN)/python examples/plot_spiral_sde.py --save demo_output
	$(ONE_THREAD) MPLBACKEND=Agg $(BIN)/python examples/plot_real_series.py --save demo_output

test: $(STAMP)
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2

coverage: $(STAMP)
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --cov

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/import_chains.py
	$(BIN)/python tools/check_words.py

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) $(DIFFRAX)/.installed
	$(ONE_THREAD) $(BIN)/python benchmarks/gradient_step.py
	$(ONE_THREAD) $(BIN)/python benchmarks/jump_gradient.py
	$(ONE_THREAD) $(BIN)/python benchmarks/nll_epoch.py
	$(ONE_THREAD) $(BIN)/python benchmarks/fields.py
	$(ONE_THREAD) $(BIN)/python benchmarks/own_operator.py
	$(ONE_THREAD) $(BIN)/python benchmarks/work_precision.py --diffrax-python $(DIFFRAX)/bin/python

# diffrax needs jax, which has an environment of its own.
$(DIFFRAX)/.installed: benchmarks/requirements-diffrax.txt
	$(PYTHON) -m venv $(DIFFRAX)
	$(DIFFRAX)/bin/python -m pip install --quiet --requirement $<
	touch $@

recovery: $(STAMP)
	$(ONE_THREAD) $(BIN)/python benchmarks/recovery.py

docs: $(STAMP)
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf .venv $(DIFFRAX) build dist demo_output docs/_build docs/generated .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	rm -f .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
