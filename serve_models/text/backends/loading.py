"""Loads a text model on its backend."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from schemas.settings.backends import Backend, Quantization
from schemas.settings.models import EmbedderSettings, RerankerSettings, TextModelSettings
from serve_models.batching.limits import BatchLimits
from serve_models.devices.dtypes import dtype_in_words
from serve_models.text.backends import onnx, openvino
from serve_models.text.backends.agreement import (
    Agreement,
    agreement_of_scores,
    agreement_of_vectors,
    check_agreement,
)
from serve_models.text.backends.choice import Choice, choose_backend, read_facts
from serve_models.text.backends.conversions import Conversion, conversion_directory, converted
from serve_models.text.backends.graphs import Converted, TextGraph
from serve_models.text.backends.packages import is_installed
from serve_models.text.backends.samples import CALIBRATION_TEXTS, COMPARISON_TEXTS
from serve_models.text.kinds import KINDS
from serve_models.text.models.base import ModelSettingsError, Rows
from serve_models.text.models.devices import choose_device
from serve_models.text.models.tokenizing import TokenizedText

logger = logging.getLogger(__name__)

_COMPARED_TOGETHER = 8


class Runtime(Protocol):
    """A module of a runtime for converted models."""

    def converter(self) -> str: ...

    def convert(
        self,
        graph: TextGraph,
        texts: Sequence[TokenizedText],
        quantization: Quantization,
        directory: Path,
    ) -> None: ...

    def opened(
        self, directory: Path, graph: TextGraph, *, parallel_batches: int, threads: int, dtype: str
    ) -> Converted: ...


_RUNTIMES: dict[Backend, Runtime] = {"openvino": openvino, "onnx": onnx}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready to run.

    Attributes:
        runs_on: A device and a number format, for people.
        agreement: With the checkpoint in float32; ``None`` where the checkpoint itself runs.
        directory: Of the conversion; ``None`` likewise.
        engine: That batches by itself, and must be shut down; ``None`` where the model is all.
    """

    model: Any
    runs_on: tuple[str, ...] = ()
    agreement: Agreement | None = None
    directory: Path | None = None
    engine: Any = None


def backend_of(settings: TextModelSettings, path: Path, *, has_gpu: bool) -> tuple[Choice, str]:
    """Return what the checkpoint of ``path`` runs on here, and torch's name of the device.

    ``has_gpu`` says whether Ray gives a replica a GPU.
    """
    device = choose_device(settings.device, has_gpu=has_gpu)
    facts = read_facts(path, is_embedder=isinstance(settings, EmbedderSettings))
    if (
        settings.backend == "vllm"
        and facts.unknown_to_vllm
        and "pooler_config" not in settings.engine_args
    ):
        raise ModelSettingsError(
            f"backend: vllm would not run {facts.unknown_to_vllm} as the library does; set backend "
            "to torch, or say by engine_args.pooler_config what vLLM is to do"
        )
    # vLLM takes a GPU only from Ray.
    no_gpu_of_ray = None if settings.num_gpus else "num_gpus: 0"
    choice = choose_backend(
        settings.backend,
        device,
        facts,
        has_vllm=is_installed("vllm"),
        only_in_torch=settings.only_in_torch or no_gpu_of_ray,
    )
    return choice, "cpu" if choice.is_converted else device


def load_text_model(
    path: Path,
    settings: TextModelSettings,
    device: str,
    backend: Backend,
    cache_dir: Path | None = None,
) -> Loaded:
    """Load the checkpoint of ``path`` on a backend; vLLM's is not loaded here.

    Converts it where no conversion is in the cache. Raises ``ModelSettingsError`` if a setting does
    not fit the checkpoint, or a conversion is too far from it.
    """
    load = KINDS[type(settings)].load
    if backend not in _RUNTIMES:
        return Loaded(
            load(path, settings, device), (device, dtype_in_words(settings.dtype, device))
        )
    runtime = _RUNTIMES[backend]
    quantization = settings.quantization or "int8"
    dtype = converted_dtype(settings.dtype, backend)
    key = Conversion(backend, quantization, dtype, runtime.converter(), type(settings).__name__)
    model = load(path, settings.model_copy(update={"dtype": "float32"}), "cpu")
    graph = model.graph()
    if graph is None:
        raise ModelSettingsError(
            f"backend: {backend} takes checkpoints that read plain token ids by a fast tokenizer, "
            "and this one does more; set backend to torch"
        )
    limits = BatchLimits.of(settings, "cpu")

    def opened(directory: Path) -> Converted:
        return runtime.opened(
            directory,
            graph,
            parallel_batches=limits.parallel_batches,
            threads=limits.threads,
            dtype=dtype,
        )

    def make(directory: Path) -> Agreement:
        logger.warning(
            "%s is converted to %s, once: this takes a minute",
            path,
            backend,
            extra={"event": "model_converted", "backend": backend},
        )
        runtime.convert(
            graph, tokenized_samples(model, settings, CALIBRATION_TEXTS), quantization, directory
        )
        return compare(model, opened(directory), settings)

    directory = conversion_directory(path, key, cache_dir)
    with converted(directory, make) as (made, agreement):
        check_agreement(agreement, settings.least_agreement, backend)
        model.run_with(opened(made))
    formats = dtype if quantization == "none" else f"{quantization} and {dtype}"
    return Loaded(model, ("cpu", formats), agreement, directory)


def converted_dtype(dtype: str, backend: Backend) -> str:
    """Return the number format of all that is not quantized."""
    if backend != "openvino" or dtype_in_words(dtype, "cpu") != "bfloat16":
        return "float32"
    return "bfloat16"


def compare(model: Any, other: Converted, settings: TextModelSettings) -> Agreement:
    """Compare a converted model with the loaded checkpoint, on texts that did not calibrate it."""
    texts = tokenized_samples(model, settings, COMPARISON_TEXTS)
    reference, ours = _rows_of(model, texts), _rows_of(other, texts)
    if isinstance(settings, EmbedderSettings):
        return agreement_of_vectors(reference, ours)
    return agreement_of_scores(reference, ours)


def tokenized_samples(
    model: Any, settings: TextModelSettings, texts: Sequence[str]
) -> list[TokenizedText]:
    tokenized: list[TokenizedText]
    match settings:
        case EmbedderSettings():
            tokenized = model.tokenize(texts, [None] * len(texts))
        case RerankerSettings():
            tokenized = model.tokenize_pairs(list(zip(texts, [*texts[1:], texts[0]], strict=True)))
        case _:
            tokenized = model.tokenize(texts)
    return tokenized


def _rows_of(model: Any, texts: Sequence[TokenizedText]) -> Rows:
    starts = range(0, len(texts), _COMPARED_TOGETHER)
    return np.concatenate(
        [model.run(texts[start : start + _COMPARED_TOGETHER]) for start in starts]
    )
