# make quickstart | make test | make test-long | make check | make clean
# VENV=DIR puts the virtual environment elsewhere; QUICKSTART="--minutes 1" passes options on.
VENV ?= .venv
QUICKSTART ?=
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && echo $$p && break; done)
INSTALLED := $(VENV)/.installed

.PHONY: install quickstart test test-long check clean

install: $(INSTALLED)

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "DabFusion needs Python 3.11 or 3.12 on the PATH; install one or pass PYTHON=/path/to/python3.11."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VENV)/bin/python -m pip install --quiet -c constraints.txt -e ".[test,demo]"
	@touch $@

quickstart: $(INSTALLED)
	$(VENV)/bin/dabfusion quickstart $(QUICKSTART)

test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --maxprocesses 4

test-long: $(INSTALLED)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --maxprocesses 2 -m "long or not long"

check: $(INSTALLED)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/pylint datamodules lightning_modules metrics experiments

clean:
	rm -rf $(VENV) *.egg-info
