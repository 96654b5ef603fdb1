# All commands to work on Headrace. CI and hooks call the same recipes.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(firstword $(shell command -v python3.11 || command -v python3) python3)
VENV := .venv
BIN := $(VENV)/bin
SOURCES := schemas handoff consumer serve_models headrace client benchmarks tests

# `make install GPU=1` takes PyPI's own torch (a CUDA build) and vLLM instead of the CPU lock.
VARIANT := $(if $(GPU),gpu,cpu)
STAMP := $(VENV)/.installed-$(VARIANT)
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu

# Runs a command; its output goes to a log, which is shown only if the command fails.
quietly = @mkdir -p $(VENV); echo "$(1)"; \
	$(2) >$(VENV)/install.log 2>&1 || { cat $(VENV)/install.log >&2; exit 1; }

.PHONY: help
help:  ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile
	@echo "  Settings: PYTHON=python3.12  GPU=1 (install)  ONLY=name (bench)  ARGS='-k name' (tests, bench)"
	@echo "            SEED=n  FAULTS=n  PLANTED=1 (chaos)  KILLS=n (bulk-chaos, nodes)  MINUTES=n (soak)"

.PHONY: install
install: $(STAMP)  ## Set up .venv from the lock (GPU=1: CUDA builds of torch and vLLM)

.PHONY: check-python
check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "make: '$(PYTHON)' is not Python 3.11 or newer. Install one, or name it:" \
			"make install PYTHON=/path/to/python3.11" >&2; exit 1; }

$(VENV)/.installed-cpu: pyproject.toml client/pyproject.toml requirements/cpu.lock requirements/torch-cpu.txt \
		| check-python
	@echo "The first install takes some 5 minutes and 4 GB (PyTorch, vLLM, Ray)"
	$(call quietly,Making $(VENV) with $$($(PYTHON) --version),$(PYTHON) -m venv $(VENV))
	$(call quietly,Installing torch (CPU build),$(BIN)/pip install --no-deps --no-compile \
		--retries 1 --timeout 15 --extra-index-url $(TORCH_CPU_INDEX) -r requirements/torch-cpu.txt)
	$(call quietly,Installing the lock,$(BIN)/pip install --no-deps --no-compile -r requirements/cpu.lock)
	@# (pip would use one CPU. A package may have files for another Python, which do not compile.)
	$(call quietly,Compiling the lock,$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true)
	$(call quietly,Installing headrace,$(BIN)/pip install --no-deps -e .)
	@# (The client comes last: it owns the command, which releases before it installed with the service.)
	$(call quietly,Installing headrace-client,$(BIN)/pip install --no-deps -e ./client)
	@rm -f $(VENV)/.installed-*; touch $@

# Needs no CUDA toolkit: the lock has nvcc. Without a C++ compiler, kernels that have to be compiled are
# not used.
$(VENV)/.installed-gpu: pyproject.toml client/pyproject.toml requirements/gpu.lock | check-python
	@echo "The first install takes some 10 minutes and 12 GB (CUDA with its compiler, PyTorch, vLLM, Ray)"
	$(call quietly,Making $(VENV) with $$($(PYTHON) --version),$(PYTHON) -m venv $(VENV))
	$(call quietly,Installing the lock,$(BIN)/pip install --no-deps --no-compile -r requirements/gpu.lock)
	$(call quietly,Compiling the lock,$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true)
	$(call quietly,Installing headrace,$(BIN)/pip install --no-deps -e .)
	$(call quietly,Installing headrace-client,$(BIN)/pip install --no-deps -e ./client)
	$(call quietly,Completing CUDA,$(BIN)/python -m serve_models.generation.kernels.wheels_toolkit)
	@rm -f $(VENV)/.installed-*; touch $@

.PHONY: kernels
kernels: $(STAMP)  ## Download FlashInfer's compiled kernels (3 GB; with GPU=1)
	$(BIN)/vllm download-kernels

# A comma that does not separate the arguments of $(call).
, := ,

.PHONY: demo
demo: $(STAMP)  ## Run a broker, embeddings and chat on this machine, with shipped data
	@$(BIN)/python -m headrace.demo

.PHONY: test
test: lint types  ## Run lint, types and all tests; uses a real broker if there is one
	@# The unit tests run beside the others, which wait more than they compute. (pytest ends with 5
	@# if ARGS choose none of its tests.)
	@mkdir -p .headrace; \
	nice -n 10 $(BIN)/python -m pytest tests/unit $(ARGS) >.headrace/unit-tests.log 2>&1 & unit=$$!; \
	trap 'kill $$unit 2>/dev/null || true' EXIT; \
	connected=0; $(BIN)/python -m pytest --ignore=tests/unit $(ARGS) || connected=$$?; \
	trap - EXIT; units=0; wait $$unit || units=$$?; \
	echo "Unit tests:"; cat .headrace/unit-tests.log; \
	for status in $$connected $$units; do [[ $$status = 0 || $$status = 5 ]] || exit 1; done; \
	[[ $$connected != 5 || $$units != 5 ]] || { echo "no test was chosen by ARGS" >&2; exit 5; }

.PHONY: unit
unit: $(STAMP)  ## Run the unit tests: no broker, no Ray
	$(BIN)/python -m pytest tests/unit $(ARGS)

.PHONY: connected
connected: $(STAMP)  ## Run the tests with a broker, Ray or vLLM
	$(BIN)/python -m pytest --ignore=tests/unit $(ARGS)

.PHONY: slowest
slowest: $(STAMP)  ## Run the tests and list the 40 slowest; docs/testing.md has the reasons
	$(BIN)/python -m pytest --durations=40 --durations-min=1 $(ARGS)

.PHONY: lint
lint: $(STAMP)  ## Check style, formatting and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

.PHONY: types
types: $(STAMP)  ## Check types (mypy --strict)
	$(BIN)/mypy

.PHONY: fmt
fmt: $(STAMP)  ## Format, and fix what ruff can fix safely
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: fuzz
fuzz: $(STAMP)  ## Send a million hostile records through the record path (SEED, ARGS='--records N')
	$(BIN)/python -m tests.fuzz $(if $(SEED),--seed $(SEED)) $(ARGS)

# Tools of their own: neither locked nor in an image.
PIP_AUDIT := pip-audit==2.10.1
CYCLONEDX := cyclonedx-bom==7.5.0

.PHONY: audit
audit: check-python  ## Look the locks up in PyPI's advisories (needs pypi.org; ends with 2 if it could not)
	@$(PYTHON) -m venv build/audit && build/audit/bin/pip install --quiet '$(PIP_AUDIT)'
	@status=0; for lock in cpu gpu; do \
		echo "requirements/$$lock.lock:"; \
		{ build/audit/bin/pip-audit --no-deps --disable-pip --progress-spinner off -f json \
			-r requirements/$$lock.lock || true; } | $(PYTHON) -m tests.supply_chain.audit || status=$$?; \
	done; exit $$status

.PHONY: sbom
sbom: check-python  ## Write the images' bills of materials (requirements/*.cdx.json, CycloneDX)
	@$(PYTHON) -m venv build/sbom && build/sbom/bin/pip install --quiet '$(CYCLONEDX)'
	@for variant in cpu gpu; do \
		$(PYTHON) -m tests.supply_chain.image_lock $$variant | build/sbom/bin/cyclonedx-py requirements \
			--output-reproducible -o requirements/$$variant.cdx.json -; \
	done

.PHONY: docs
docs: $(STAMP)  ## Write what is made from code: pages of docs, dashboard and alerts
	$(BIN)/python -m headrace.observability.page >docs/metrics.md
	$(BIN)/python -m headrace.observability.log_page >docs/logs.md
	$(BIN)/python -m headrace.settings.reference >docs/settings.md
	$(BIN)/headrace render grafana >monitoring/grafana/dashboards/headrace.json
	$(BIN)/headrace render alerts --config headrace.yaml >monitoring/alerts.yaml

.PHONY: alerts
alerts: $(STAMP)  ## Cause each alert by a real fault, in a real Prometheus (ONLY='name name')
	$(BIN)/python -m tests.alerts $(foreach name,$(ONLY),--only $(name)) $(ARGS)

.PHONY: soak
soak: $(STAMP)  ## Run at 80 % load, and see that nothing grows (MINUTES, PLANTED=1)
	$(BIN)/python -m tests.soak $(if $(MINUTES),--minutes $(MINUTES)) $(if $(PLANTED),--planted) $(ARGS)

.PHONY: console-pictures
console-pictures: $(STAMP)  ## Draw the pictures of docs/console.md (needs Chromium)
	$(BIN)/python -m tests.console_pictures

.PHONY: bench
bench: $(STAMP)  ## Run the benchmarks (ONLY='name name' for some)
	$(BIN)/python -m benchmarks $(foreach name,$(ONLY),--only $(name)) $(ARGS)

.PHONY: quantised
quantised: $(STAMP)  ## Start an engine for each kind of quantised checkpoint (ONLY='awq fp8')
	$(BIN)/python -m tests.quantised $(ONLY)

.PHONY: gpu-bench
gpu-bench: $(STAMP)  ## Measure encoders and generators on an NVIDIA GPU (ARGS='--quick' tries it on a CPU)
	$(BIN)/python -m benchmarks.gpu $(ARGS)

.PHONY: chaos
chaos: $(STAMP)  ## Inject faults and check the promises (SEED, FAULTS, PLANTED=1)
	$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults $(FAULTS)) \
		$(if $(PLANTED),--planted) $(ARGS)

.PHONY: bulk-chaos
bulk-chaos: $(STAMP)  ## Kill what a bulk job needs, and check its rows (SEED, KILLS, PLANTED=1)
	$(BIN)/python -m tests.bulk_chaos $(if $(SEED),--seed $(SEED)) $(if $(KILLS),--kills $(KILLS)) \
		$(if $(PLANTED),--planted) $(ARGS)

.PHONY: nodes
nodes: $(STAMP)  ## Kill nodes of a Ray cluster of three, and move to another (SEED, KILLS)
	$(BIN)/python -m tests.nodes $(if $(SEED),--seed $(SEED)) $(if $(KILLS),--kills $(KILLS)) $(ARGS)

# Resolved in a new virtual environment, so that packages installed by hand do not get in.
# Left out, because nothing here imports them: py-spy (Ray's dashboard), torchaudio, torchcodec and
# torchvision (vLLM's models of sound and pictures), FastAPI's command line and its dependencies.
UNUSED := py-spy torchaudio torchcodec torchvision agent-detector detect-installer fastapi-cli \
	fastapi-cloud-cli fastar rich-toolkit rignore sentry-sdk
.PHONY: lock
lock: check-python  ## Resolve pyproject.toml again and write requirements/cpu.lock
	@rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet --retries 1 --timeout 15 -c requirements/constraints.txt \
		--extra-index-url $(TORCH_CPU_INDEX) -r requirements/torch-cpu.txt
	build/lock/bin/pip install --quiet -c requirements/constraints.txt \
		-e './client[bulk,lance]' -e '.[demo,dev,cpu,openvino,onnx,s3,gs]'
	build/lock/bin/pip install --quiet --no-deps -r requirements/no-deps.txt
	@{ head -1 requirements/cpu.lock; \
		build/lock/bin/pip freeze --all --exclude-editable --exclude pip --exclude torch \
			$(foreach name,$(UNUSED),--exclude $(name)); } >build/cpu.lock
	@mv build/cpu.lock requirements/cpu.lock; rm -rf build/lock

# What passes between GPU workers and the others, as objects: the same release on both sides.
SHARED := aiokafka cloudpickle msgspec numpy orjson pydantic pydantic_core ray safetensors \
	sentence-transformers tokenizers transformers
LOCK_OF_REPORT := 'import json, sys; \
	found = [each["metadata"] for each in json.load(open(sys.argv[1]))["install"]]; \
	print(*(each["name"] + "==" + each["version"] for each in found \
		if each["name"] not in sys.argv[2:]), sep="\n")'

# Nothing is installed, so that it resolves on a machine without a GPU; pip downloads 4 GB for it.
.PHONY: lock-gpu
lock-gpu: check-python  ## Resolve it for CUDA, and write requirements/gpu.lock
	@rm -rf build/lock-gpu
	$(PYTHON) -m venv build/lock-gpu
	@$(foreach name,$(SHARED),grep '^$(name)==' requirements/cpu.lock;) >build/shared.txt
	build/lock-gpu/bin/pip install --quiet --dry-run --ignore-installed --only-binary :all: \
		--report build/gpu.json -c requirements/constraints.txt -c requirements/torch-gpu.txt \
		-c build/shared.txt \
		'./client[bulk,lance]' '.[demo,dev,gpu,s3,gs]'
	@{ head -1 requirements/gpu.lock; { grep -v '^#' requirements/no-deps.txt; \
		$(PYTHON) -c $(LOCK_OF_REPORT) build/gpu.json headrace headrace-client \
		$(filter-out torch%,$(UNUSED)); } | LC_ALL=C sort -f -t= -k1,1; } \
		>build/gpu.lock
	@mv build/gpu.lock requirements/gpu.lock; rm -rf build/lock-gpu build/gpu.json build/shared.txt

.PHONY: clean
clean:  ## Remove .venv, caches and the files of local runs
	rm -rf $(VENV) .headrace build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache \
		.hypothesis .import_linter_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
