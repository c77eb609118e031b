# The commands of the house. Each says what it does; all but the first run are quick.
# `make run` and `make test` need Python 3.11 or newer, git and make, and nothing else.

SHELL = /bin/sh
export PYTHONDONTWRITEBYTECODE =

.PHONY: help run test lint bench soak clean

help:
	@echo 'make run     set up .venv and run the main job on examples/fleet'
	@echo 'make test    set up what is missing and run everything that must pass'
	@echo 'make lint    the static half of make test: ruff, mypy, pyright, import-linter'
	@echo 'make bench   every benchmark (QUICK=1 for a short look)'
	@echo 'make soak    the tests again and again, recorded, for MINUTES (10), then the flaky list'
	@echo 'make clean   remove environments, caches and records'

run:
	@python=$$(sh tools/find-python) && exec "$$python" tools/make_run.py

test:
	@python=$$(sh tools/find-python) && exec "$$python" tools/make_test.py

lint:
	@python=$$(sh tools/find-python) && exec "$$python" tools/make_test.py --lint

bench:
	@python=$$(sh tools/find-python) && exec "$$python" tools/make_bench.py $(if $(QUICK),--quick)

soak:
	@python=$$(sh tools/find-python) && exec "$$python" tools/make_soak.py --minutes $(or $(MINUTES),10)

clean:
	rm -rf .venv .venv-* .cache .windtunnel examples/fleet/.windtunnel dist build
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
