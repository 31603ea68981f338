# The two commands are `make demo` and `make test`. How the installation goes is in tools/install.sh.

VENV = .venv
CONSTRAINTS = constraints.txt
EXTRAS = dev
PIP_ARGS =
PYTHON ?=
JOBS = 2
TESTS =
ARGS =
export VENV CONSTRAINTS EXTRAS PIP_ARGS PYTHON

RUN = $(VENV)/bin/python
# Written last, so an interrupted installation has none and is started again.
STAMP = $(VENV)/.installed

.DEFAULT_GOAL = help
.PHONY: help venv demo demo-lens demo-data test lint format docs clean

help: ## this list
	@echo 'Targets:'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r target text; do printf '%-18s%s\n' "$$target" "$$text"; done
	@echo 'Variables:'
	@echo '  PYTHON=python3.11     the Python to make .venv with (default: the first of 3.12, 3.11, 3.10 that works)'
	@echo '  EXTRAS=dev,metrics    the extras of pyproject.toml for a new .venv (default: dev)'
	@echo '  CONSTRAINTS=FILE      exact versions for it (default: constraints.txt; constraints-min.txt: the oldest ones)'
	@echo '  PIP_ARGS="..."        more arguments for pip, for example an index with PyTorch for CPUs only'
	@echo '  VENV=.venv            where the environment is made'
	@echo '  JOBS=2                test processes;  TESTS="tests/cli -k name"   what make test runs'
	@echo '  ARGS="..."            arguments for tools/demo/demo.py or tools/demo/make_demo_clips.py'

venv: $(STAMP) ## make .venv and install everything into it (once)

$(STAMP): $(CONSTRAINTS) pyproject.toml setup.py tools/install.sh
	@sh tools/install.sh venv

demo: $(STAMP) ## make the demo clips, train and test SEEM and its control, draw the picture
	@$(RUN) tools/demo/demo.py $(ARGS)

demo-lens: $(STAMP) ## the same, and Semantic Lens; uses what make demo has made
	@$(RUN) tools/demo/demo.py --lens $(ARGS)

demo-data: $(STAMP) ## make the demo clips only
	@$(RUN) tools/demo/make_demo_clips.py $(ARGS)

# One thread a process: two processes with all threads each would only get in each other's way.
test: $(STAMP) ## run all tests, the quick ones first
	@OMP_NUM_THREADS=1 $(RUN) -m pytest -n $(JOBS) --dist worksteal $(TESTS)

# All three run, whatever the first one says.
lint: $(STAMP) ## check style, format and types
	@status=0; for check in 'ruff check .' 'ruff format --check .' 'pyright --pythonpath $(RUN)'; do \
		echo "-- $$check"; $(RUN) -m $$check || status=1; done; exit $$status

format: $(STAMP) ## put the code into its format and sort its imports
	$(RUN) -m ruff check --fix-only --select I .
	$(RUN) -m ruff format .

# The variable leaves out a note on what may come after MkDocs.
docs: $(STAMP) ## build the site of docs/ into site/; a link that leads nowhere is an error
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

clean: ## remove .venv, build files, the site and caches; data, demo and experiments stay
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .ruff_cache .hypothesis
	find basicsr_semantic tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
