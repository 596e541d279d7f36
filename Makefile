# Everything sets itself up: `make demo` and `make test` need python3 (3.11 or newer) and nothing else.
PYTHON ?= python3
BIN := .venv/bin
DEMO := runs/demo

.PHONY: install demo test lint types check clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch -c constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]" -c constraints.txt
	touch $@

demo: install
	@if [ -f $(DEMO)/report.html ]; then \
		echo "The demo has run already: open $(DEMO)/report.html (remove $(DEMO) to run it again)."; \
	else \
		rm -rf $(DEMO) && \
		$(BIN)/equimorph search --data digits --strategy evolutionary --group D4 --subgroups C1,C4,D4 --fields 4 --epochs 18 \
			--evolutionary-start group --selection pareto \
			--initial-epochs 6 --generations 3 --population 3 --children 8 --out $(DEMO); \
	fi

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2

lint: install
	$(BIN)/ruff check .

types: install
	$(BIN)/mypy

check: lint types test

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
