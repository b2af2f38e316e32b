# Everything here runs in .venv, which the first call makes. `make help` lists the targets.

PYTHON ?= python3
# Processes with one thread each: two threads in one process can be far slower than one on a busy machine.
export OMP_NUM_THREADS = 1

.PHONY: help table full reference test lint fast mutants cluster validate bench fuzz docs site picture clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 12

table: .venv/ready-table  ## measure Table 1 on real digits; write table.html and table.json
	.venv/bin/whatelse table --show-examples

full: .venv/ready-dev  ## the same with every candidate, which takes long
	.venv/bin/whatelse table --full --show-examples

reference: .venv/ready-table  ## measure Table 1 with 64 seeds, in an hour or so; write docs/studies/table1.md; can be taken up again
	.venv/bin/python bench/reference.py

test: .venv/ready-dev lint  ## check style and types, then run all tests
	.venv/bin/python -m pytest -n auto

fast: .venv/ready-dev  ## run the tests without those that run for long
	.venv/bin/python -m pytest -n auto -m "not slow and not browser"

lint: .venv/ready-dev  ## check style and types only
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

cluster: .venv/ready-dev  ## install Ray and run the tests that need it: two nodes on this machine, results on an S3 server of it
	.venv/bin/python -m pip install -q -c constraints.txt -e '.[ray]'
	.venv/bin/python -m pytest -n 0 tests/engines tests/contract -k "ray"

validate: .venv/ready-dev  ## measure whether verdicts can be trusted, in half an hour; write docs/validation.md
	.venv/bin/python validation/run.py

bench: .venv/ready-dev  ## measure speed; prints ratios taken side by side
	.venv/bin/python bench/resampling.py
	.venv/bin/python bench/table.py
	.venv/bin/python bench/engines.py
	.venv/bin/python bench/audit.py
	.venv/bin/python bench/evidence.py
	.venv/bin/python bench/memory.py
	.venv/bin/python bench/known.py
	.venv/bin/python bench/methods.py
	.venv/bin/python bench/architecture.py
	.venv/bin/python bench/language.py
	.venv/bin/python bench/blocks.py
	.venv/bin/python bench/attacks.py
	.venv/bin/python bench/shadows.py
	.venv/bin/python bench/preserve.py

fuzz: MINUTES = 10
fuzz: .venv/ready-dev  ## open what was changed by chance or crafted, 30 minutes; also by atheris where it is installed
	.venv/bin/python fuzz/run.py
	.venv/bin/python fuzz/draw.py --minutes $(MINUTES)
	if .venv/bin/python -c 'import atheris' 2>/dev/null; then .venv/bin/python fuzz/guided.py --minutes $(MINUTES); fi

docs: .venv/ready-dev  ## write docs/behaviours and the schema of findings, from the code
	.venv/bin/python docs/make_pages.py
	.venv/bin/python docs/make_schema.py

site: .venv/ready-dev  ## build the site into site/, offline; open site/index.html
	.venv/bin/python docs/make_site.py

picture: .venv/ready-dev  ## draw docs/table.png, the picture in the README, from table.json
	.venv/bin/python bench/picture.py

clean:  ## remove the environment and the results
	rm -rf .venv site whatelse-results validation-results table.html table.json

.venv/ready-table: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install -q -c constraints.txt -e '.[table]'
	touch $@

.venv/ready-dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@
