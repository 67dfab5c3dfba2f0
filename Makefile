# Everything a developer does here. Needs Python 3.11 or newer and make; the rest is fetched into .venv.
PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
RUN := $(BIN)/python
READY := $(VENV)/.ready
LINTERS := $(VENV)/.linters
SITE := $(VENV)/.site
PIP := $(RUN) -m pip --quiet --disable-pip-version-check
JOBS ?= auto

.DEFAULT_GOAL := help
.PHONY: help demo test test-extras lint format docs release samples flexpooling zoo zoo-table clean

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## Find, lift and look: a small digit classifier, its scenes, pictures in demo_output/.
	@$(RUN) -m tools.demo

test: $(READY) ## Run the tests.
	@$(RUN) -m pytest -q -n $(JOBS)

test-extras: $(READY) ## Run the tests of the extras, in an environment of its own (fetches their packages).
	@test -e $(VENV)/extras/pyvenv.cfg || $(PYTHON) -m venv $(VENV)/extras
	@$(subst $(VENV)/,$(VENV)/extras/,$(PIP)) install --upgrade 'pip>=25.1'
	@$(subst $(VENV)/,$(VENV)/extras/,$(PIP)) install --editable '.[remote,ray]' --group extras
	@$(subst $(VENV)/,$(VENV)/extras/,$(RUN)) -m pytest -q -n $(JOBS) --dist loadfile -m "remote or ray"

lint: $(LINTERS) ## Check style, types and imports: ruff, mypy --strict, import-linter.
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy
	@$(BIN)/lint-imports --no-logo

docs: $(SITE) ## Build the site in docs/_build: warnings are errors, and every verb, flag, name and link is there.
	@$(RUN) -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@$(RUN) -m tools.gallery docs/_build/html/gallery
	@$(RUN) -m tools.check_site docs/_build/html
	@echo "Open docs/_build/html/index.html"

release: $(READY) ## Build sdist and wheel, try the wheel in a fresh environment, write SBOM and SHA-256 into dist/.
	@$(PIP) install --group release
	@$(RUN) -m tools.release

format: $(LINTERS) ## Format the code and mend what ruff can mend.
	@$(RUN) -m ruff check --fix-only --quiet .
	@$(RUN) -m ruff format .

samples: $(addprefix samples-,torch flexpooling keras paddle jax) ## Train and export the sample models again (fetches four frameworks).

# Each framework in an environment of its own: their pins contradict each other.
.PRECIOUS: $(VENV)/samples-%/.ready
$(VENV)/samples-%/.ready: sample_models/requirements-%.txt $(READY)
	@test -e $(VENV)/samples-$*/pyvenv.cfg || $(PYTHON) -m venv $(VENV)/samples-$*
	@$(subst $(VENV)/,$(VENV)/samples-$*/,$(PIP)) install --requirement $<
	@touch $@

samples-%: $(VENV)/samples-%/.ready
	@echo "Training with $* ..."
	@$(subst $(VENV)/,$(VENV)/samples-$*/,$(RUN)) sample_models/train_$*.py

samples-flexpooling: $(VENV)/samples-torch/.ready
	@$(subst $(VENV)/,$(VENV)/samples-torch/,$(RUN)) sample_models/train_flexpooling.py

flexpooling: $(VENV)/samples-torch/.ready ## Train FlexPooling's nets, audit them, write docs/flexpooling.md (hours).
	@$(subst $(VENV)/,$(VENV)/samples-torch/,$(RUN)) sample_models/train_flexpooling.py --study build/flexpooling
	@$(RUN) -m benchmarks.flexpooling build/flexpooling --markdown docs/flexpooling.md

zoo-table: $(READY) ## Lift every model of the shared zoo and count, by exporter and class.
	@$(RUN) -m benchmarks.zoo_table

zoo: $(READY) ## Export anew from timm, torchvision, Keras, Paddle, JAX, ... and lift all (fetches them; hours).
	@$(RUN) -m benchmarks.make_zoo $(ZOO)

clean: ## Remove .venv and everything that was made.
	@rm -rf $(VENV) demo_output docs/_build build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "Clean."

# The stamps are older than pyproject.toml when the dependencies may have changed.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=/path/to/python3")'
	@echo "Setting up $(VENV) (ONNX Runtime alone is a download of 256 MB) ..."
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --editable . --group test
	@touch $@

$(LINTERS): $(READY)
	@$(PIP) install --group lint
	@touch $@

$(SITE): $(READY)
	@$(PIP) install --group docs
	@touch $@
