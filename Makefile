# Needs Python >= 3.11 with venv, make and a network to the package index. Everything else is installed into .venv.
#
#   make demo            the five services and Airflow on this machine, every example DAG run once; Ctrl-C ends it
#   make demo EXIT=1     the same, ends by itself; fails if a run failed
#   make test            all tests but those below         (ARGS="-k sendhub" goes to pytest)
#   make system          killed triggerers, bursts and outages on a real Airflow (ten minutes)
#   make chaos           the same for long, on PostgreSQL  (half an hour; installs Debian's package if there is none)
#   make lint docs       ruff and mypy; the documentation  (make format puts the code in order)
#   make bench           what waiting, sending, large files and imports cost  (a quarter of an hour; wants an idle machine)
#   make constraints     new exact versions for everything above

# Which Python: the first that is new enough, unless told (make demo PYTHON=python3.12).
ifndef PYTHON
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
endif

# Settings for another Python or another environment would leak into ours.
unexport PYTHONPATH PYTHONHOME
export PIP_USER := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

OLDEST := 3.1.8
# Most tests wait for sockets most of their time: more of them at once than there are cores.
PYTEST_PARALLEL := -n 4
# With ARGS="-k ..." one of the two halves may have no test: pytest ends with 5 then.
OR_NONE := || [ $$? -eq 5 ]
# Twice quiet: errors only.
PIP_INSTALL := -m pip install -qq --progress-bar off

.DEFAULT_GOAL := help
.PHONY: help demo test test-oldest system chaos postgresql lint ruff mypy format docs bench install constraints clean

help:
	@sed -n 's/^#   //p' Makefile

demo: .venv/.installed
	@.venv/bin/python -m scripts.demo $(if $(filter-out 0,$(EXIT)),--exit) $(ARGS)

test: .venv/.installed-test
	.venv/bin/python -m pytest $(PYTEST_PARALLEL) -m "not system and not undisturbed" $(ARGS) $(OR_NONE)
	.venv/bin/python -m pytest -m undisturbed $(ARGS) $(OR_NONE)

system: .venv/.installed-test
	.venv/bin/python -m pytest -s tests/system $(ARGS)

chaos: .venv/.installed-test .venv/.installed-chaos postgresql
	SYSTEM_TESTS=long .venv/bin/python -m pytest -s tests/system $(ARGS)

# No service is wanted, only the programs: in run level 1 Debian starts none.
postgresql:
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || \
		{ apt-get update -qq && RUNLEVEL=1 apt-get install -qq -y --no-install-recommends postgresql; }

test-oldest: .venv-oldest/.installed
	.venv-oldest/bin/python -m pytest $(PYTEST_PARALLEL) -m "not newest and not system and not undisturbed" $(ARGS) $(OR_NONE)

lint: ruff mypy

ruff: .venv/.installed-lint
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .

mypy: .venv/.installed-test .venv/.installed-lint
	.venv/bin/python -m mypy --strict -p airflow_messaging -p scripts

format: .venv/.installed-lint
	.venv/bin/python -m ruff check --fix .
	.venv/bin/python -m ruff format .

docs: .venv/.installed-docs
	.venv/bin/python -m sphinx -nW --keep-going -b html docs docs/_build/html

bench: .venv/.installed-bench
	.venv/bin/python benchmarks/waiting.py
	.venv/bin/python benchmarks/sending.py
	.venv/bin/python benchmarks/gigabyte.py
	.venv/bin/python benchmarks/imports.py

install: .venv/.installed .venv/.installed-test .venv/.installed-lint .venv/.installed-docs .venv/.installed-build

# An environment without a working Python (it was never made, or the system's Python has gone) is made anew.
%/bin/python:
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 ...' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
		{ echo '$(PYTHON) lacks venv; many systems have it as a package named python3-venv' >&2; exit 1; }
	@echo 'Creating $* with $(PYTHON)'
	@$(PYTHON) -m venv --clear $*

# The stamps make a second start fast. pip comes first: only a new one knows dependency groups.
.venv/.installed: .venv/bin/python pyproject.toml constraints.txt
	@echo 'Installing the package and Airflow (a minute or two, the first time only)'
	@.venv/bin/python $(PIP_INSTALL) -c constraints.txt --upgrade pip
	@.venv/bin/python $(PIP_INSTALL) -c constraints.txt --build-constraint constraints.txt -e '.[common-messaging]'
	@touch $@

.venv/.installed-%: .venv/.installed
	@echo 'Installing what "$*" needs'
	@.venv/bin/python $(PIP_INSTALL) -c constraints.txt --group $*
	@touch $@

.venv-oldest/.installed: .venv-oldest/bin/python pyproject.toml constraints-oldest.txt
	@echo 'Installing the oldest supported Airflow'
	@.venv-oldest/bin/python $(PIP_INSTALL) -c constraints-oldest.txt --upgrade pip
	@.venv-oldest/bin/python $(PIP_INSTALL) -c constraints-oldest.txt --build-constraint constraints-oldest.txt \
		-e '.[common-messaging]' --group test
	@touch $@

# To move to other versions of Airflow: change OLDEST here, or say make constraints NEWEST=3.3.3.
constraints:
	PYTHON="$(PYTHON)" sh scripts/constraints.sh constraints.txt "$(or $(NEWEST),3.3.2)" test lint docs bench chaos build
	PYTHON="$(PYTHON)" sh scripts/constraints.sh constraints-oldest.txt "$(OLDEST)" test build

clean:
	rm -rf .venv .venv-oldest .demo .system dist build docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
