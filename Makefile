# `make app` and `make test` need only Python >= 3.11, pip and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: app test lint slow bundled clean

app: $(VENV)/.installed
	$(BIN)/python app.py

test: $(VENV)/.installed-test lint
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow"

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m slow

# A system Python without the ensurepip module still has pip: it then installs into the new environment.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "tl-app needs Python 3.11 or newer, and $(PYTHON) is older. Try: make app PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV) && $(PYTHON) -m venv --without-pip $(VENV); }

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@test -x $(BIN)/pip && $(BIN)/python -m pip install -e . || $(PYTHON) -m pip --python $(BIN)/python install -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(BIN)/python
	@test -x $(BIN)/pip && $(BIN)/python -m pip install -e ".[test]" || $(PYTHON) -m pip --python $(BIN)/python install -e ".[test]"
	@touch $@ $(VENV)/.installed

# The bundled backbone: make bundled PHOTOS=caltech101/ MEASURE="hymenoptera/ sample_data/fruit"
bundled: $(VENV)/.installed
	$(BIN)/python assets/bundled/make.py $(PHOTOS) --measure $(MEASURE)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
