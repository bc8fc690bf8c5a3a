# Two commands: `make demo` serves the booking site, `make test` runs the tests. Both install what they need
# into .venv first, once. All paths are relative, so that the folder may have a space in its name, and tools are
# called as `python -m …`, for the scripts in .venv/bin break on spaces and on long paths.

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 5000
ARGS ?=

# Extras that `make demo` installs too: those that the addresses in the environment ask for, or `EXTRAS=name`.
EXTRAS ?= $(if $(filter postgres%,$(DATABASE_URL)),postgres) $(if $(REDIS_URL),redis)

# How much of the fault suite is done, and where its figures are written.
FAULTS_SCALE ?= 1
FAULTS_FIGURES ?= build/fault-figures.jsonl

# More than two test processes gain little: each starts its own servers.
TEST_WORKERS ?= 2

VENV := .venv/bin/python
# The stamps carry a checksum of what is installed: a changed pin or pyproject.toml makes a new stamp due.
DEMO_STAMP := .venv/demo-$(shell cat pyproject.toml requirements/demo.txt | cksum | cut -d ' ' -f 1)
EXTRAS_STAMP := $(if $(strip $(EXTRAS)),.venv/extras-$(shell echo '$(EXTRAS)' | cat - pyproject.toml requirements/test.txt | cksum | cut -d ' ' -f 1))
TEST_STAMP := .venv/test-$(shell cat pyproject.toml requirements/demo.txt requirements/test.txt | cksum | cut -d ' ' -f 1)
# pip of the system installs into .venv from outside: this needs neither ensurepip nor rights on the system.
INSTALL := PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 $(PYTHON) -m pip --python $(VENV) install -qq

.PHONY: help demo test moments faults docs lint format clean

help:
	@echo 'make demo    serve the booking site; PORT=5000, HOST=127.0.0.1; DATABASE_URL and REDIS_URL are used if they are set'
	@echo 'make test    run the tests, without the slow ones; ARGS="-k name" is handed to pytest'
	@echo 'make moments what reads the clock, at other moments in other zones; ARGS=--short takes each moment once'
	@echo 'make faults  the whole fault suite and all slow tests, more than an hour; ARGS="-k name" is handed to pytest'
	@echo 'make docs    the documentation as web pages, in build/docs; a warning is an error'
	@echo 'make lint    ruff and mypy'
	@echo 'make format  let ruff format and repair the code'
	@echo 'make clean   remove .venv and all caches'

demo: $(DEMO_STAMP) $(EXTRAS_STAMP)
	@echo 'Booking site: http://$(HOST):$(PORT)/  (Ctrl-C stops it)'
	@exec $(VENV) -m gunicorn --bind '$(HOST):$(PORT)' --workers 2 --threads 8 --no-control-socket 'demo_app:create_app()'

# A file's tests stay in one process, which makes what they share once. Bytecode is kept, also where the environment
# asks for none, as in CI: pytest would rewrite the assertions of all tests and plugins in each process anew.
test: $(TEST_STAMP)
	@PYTHONDONTWRITEBYTECODE= PYTEST_TIMEOUT=300 $(VENV) -m pytest -rs -m 'not slow' \
		--numprocesses $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

# Runs the tests once, to see which read the clock, and then those at each moment in each zone.
moments: $(TEST_STAMP)
	@$(VENV) -m tests.moments $(ARGS)

# One process: the tests measure, so they must not be in each other's way. The figures also go to a file, as JSON.
faults: $(TEST_STAMP)
	@FAULTS_SCALE='$(FAULTS_SCALE)' FAULTS_FIGURES='$(FAULTS_FIGURES)' PYTEST_TIMEOUT=3600 \
		$(VENV) -m pytest tests/faults -rs -s $(ARGS); tests=$$?; \
	PYTEST_TIMEOUT=1800 $(VENV) -m pytest tests -rs -m slow --ignore tests/faults $(ARGS); slow=$$?; \
	audit=0; $(if $(ARGS),:,$(VENV) tests/faults/mutation_audit.py) || audit=1; \
	nothing=5; exit $$(((tests && tests != nothing) || (slow && slow != nothing) || audit))

docs: $(TEST_STAMP)
	@$(VENV) -m sphinx -b html -E -W --keep-going -q docs build/docs && echo 'build/docs/index.html'

# All three speak, also when the first has something to say.
lint: $(TEST_STAMP)
	@$(VENV) -m ruff check .; check=$$?; \
	$(VENV) -m ruff format --check .; format=$$?; \
	$(VENV) -m mypy flask_rollingslots demo_app benchmarks docs/generate.py examples/club.py && \
	MYPYPATH=examples $(VENV) -m mypy -p studio; types=$$?; \
	exit $$((check || format || types))

format: $(TEST_STAMP)
	@$(VENV) -m ruff check --fix .
	@$(VENV) -m ruff format .

clean:
	rm -rf .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist

$(DEMO_STAMP):
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; name it with: make PYTHON=…" if sys.version_info < (3, 11) else 0)'
	@echo 'Installing into .venv, once …'
	@test -x $(VENV) || $(PYTHON) -m venv --without-pip .venv
	@$(INSTALL) -r requirements/demo.txt
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@rm -f .venv/demo-*
	@touch $@

# The extras of the demo have the versions with which they are tested.
.venv/extras-%: | $(DEMO_STAMP)
	@echo 'Installing $(strip $(EXTRAS)) into .venv, once …'
	@$(INSTALL) --no-build-isolation -c requirements/test.txt -e ".[$$(echo $(EXTRAS) | tr ' ' ,)]"
	@touch $@

# After the other, also with `make -j`: two pips must not write into one environment at a time.
$(TEST_STAMP): | $(DEMO_STAMP)
	@echo 'Installing the test tools into .venv, once …'
	@$(INSTALL) -r requirements/test.txt
	@rm -f .venv/test-*
	@touch $@
