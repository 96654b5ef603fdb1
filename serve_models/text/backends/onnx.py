"""Converts a text model to ONNX and runs it with ONNX Runtime, on CPUs.

Needs ``headrace[onnx]``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from schemas.settings.backends import Quantization
from serve_models.text.backends.graphs import TextGraph, tracing
from serve_models.text.backends.packages import import_extra, versions_of
from serve_models.text.models.base import Rows
from serve_models.text.models.tokenizing import TokenizedText

PACKAGES = ("onnx", "onnxruntime")
_FILE = "model.onnx"
_OPSET = 18


def converter() -> str:
    return versions_of("onnx", PACKAGES)


def convert(
    graph: TextGraph,
    texts: Sequence[TokenizedText],
    quantization: Quantization,
    directory: Path,
) -> None:
    """Write the graph as ``model.onnx``.

    int8 quantises the weights of the matrix products; activations are quantised as they come, so
    ``texts`` only show the shape of an input.
    """
    import_extra("onnx", "onnx")
    exported = directory / (_FILE if quantization == "none" else "float32.onnx")
    with tracing():
        torch.onnx.export(
            graph.module,
            graph.example(texts),
            str(exported),
            input_names=list(graph.names),
            output_names=["rows"],
            dynamic_axes={
                **{name: {0: "texts", 1: "tokens"} for name in graph.names},
                "rows": {0: "texts"},
            },
            opset_version=_OPSET,
            dynamo=False,
        )
    if quantization == "int8":
        quantizer = import_extra("onnxruntime.quantization", "onnx")
        quantizer.quantize_dynamic(
            exported, directory / _FILE, weight_type=quantizer.QuantType.QInt8, per_channel=True
        )
        exported.unlink()


def opened(
    directory: Path,
    graph: TextGraph,
    *,
    parallel_batches: int,
    threads: int,
    dtype: str,  # noqa: ARG001 -- what is not int8 runs in float32
) -> "OnnxModel":
    """Load a converted model; ``parallel_batches`` share ``threads``."""
    return OnnxModel(directory, graph, threads=max(1, threads // parallel_batches))


class OnnxModel:
    """A model that ONNX Runtime runs (``Converted``)."""

    def __init__(self, directory: Path, graph: TextGraph, *, threads: int) -> None:
        runtime = import_extra("onnxruntime", "onnx")
        options: Any = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that wait busily would take the CPU from those of another batch.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = runtime.InferenceSession(
            str(directory / _FILE), options, providers=["CPUExecutionProvider"]
        )
        self._graph = graph

    def run(self, texts: Sequence[TokenizedText]) -> Rows:
        rows: Rows = self._session.run(None, self._graph.arrays(texts))[0].astype(np.float32)
        return rows
