# Every target but help and clean needs the virtual environment, which the first one makes.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.ready

.PHONY: help venv demo test test-arm lint bench accuracy docs sizes streams graphs frameworks formal coverage board-wheel clean
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

venv: $(STAMP) ## .venv with everything pinned in requirements.lock, from PyPI

$(STAMP): pyproject.toml requirements.lock tools/make_venv.sh
	@PYTHON="$(PYTHON)" tools/make_venv.sh .venv
	@touch $@

demo: $(STAMP) ## the whole path on the digits network, then a ResNet-18 layer on the RTL
	@$(BIN)/python examples/demo.py

test: $(STAMP) ## the tests, on two processes
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-arm: $(STAMP) ## the board runtime's tests under the Python of Debian's armhf and arm64, by qemu-user
	$(BIN)/python tools/test_arm.py

lint: $(STAMP) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy examples benchmarks

bench: $(STAMP) ## whole networks on the RTL, speed of simulators and compiler; also as JSON in build/
	@for file in $(filter-out benchmarks/accuracy.py,$(wildcard benchmarks/*.py)); do echo "== $$file"; $(BIN)/python $$file || exit 1; done

accuracy: $(STAMP) ## docs/accuracy.md: what quantization costs trained networks (an hour; goes on where it stopped)
	$(BIN)/python benchmarks/accuracy.py

docs: $(STAMP) ## docs/isa.md and docs/registers.md from vta_arch
	$(BIN)/python -m vta_app.reference docs

sizes: $(STAMP) ## what `vta board list` knows of presets' sizes: by `vta synth`, minutes each
	$(BIN)/python tools/measure_sizes.py

streams: $(STAMP) ## 2,000 random instruction streams, RTL against functional simulator
	$(BIN)/python -m vta_sim.stream_soak --streams 2000

SEED ?= 1000
graphs: $(STAMP) ## random networks: 600 on the functional simulator, 120 on the RTL, four configurations; others with SEED=N
	VTA_FIRST_SEED=$(SEED) $(BIN)/python -m pytest tests/soak -n 2 -o python_files='soak_*.py'

frameworks: $(STAMP) ## networks from the exporters of TensorFlow and NNabla, installed below build/ (2 GB)
	$(BIN)/python -m pytest tests/frameworks -o python_files='frameworks_*.py' -o timeout=3000

formal: $(STAMP) ## proofs of the accelerator's queues, bus rules and arithmetic (solver: z3)
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[formal]'
	$(BIN)/python -m pytest tests/formal -n 2 -o python_files='proof_*.py'

coverage: $(STAMP) ## line and toggle coverage of the RTL under random streams
	$(BIN)/python -m vta_sim.coverage

board-wheel: $(STAMP) ## dist/vta_board_runtime-*.whl: what a board installs, for any processor
	PIP_CONSTRAINT=$(CURDIR)/requirements.lock $(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist boards/runtime
	@ls dist/vta_board_runtime-*.whl

clean: ## remove what was built, not the virtual environment
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./.venv -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf
