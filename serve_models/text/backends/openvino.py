"""Converts a text model to OpenVINO and runs it, on CPUs. Needs ``headrace[openvino]``."""

import io
import logging
import warnings
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from schemas.settings.backends import Quantization
from serve_models.text.backends.graphs import TextGraph, tracing
from serve_models.text.backends.packages import import_extra, versions_of
from serve_models.text.models.base import Rows
from serve_models.text.models.tokenizing import TokenizedText

PACKAGES = ("openvino", "nncf")
_FILE = "model.xml"
_CALIBRATION_TEXTS = 4
"""In one batch of the calibration."""


def converter() -> str:
    return versions_of("openvino", PACKAGES)


def convert(
    graph: TextGraph,
    texts: Sequence[TokenizedText],
    quantization: Quantization,
    directory: Path,
) -> None:
    """Write the graph as OpenVINO's ``model.xml``; int8 is calibrated on ``texts``.

    int8 quantises weights and activations of the matrix products (post-training quantisation for
    transformers, of NNCF); all else stays in floating point.
    """
    openvino = import_extra("openvino", "openvino")
    with tracing():
        model = openvino.convert_model(graph.module, example_input=graph.example(texts))
    for port, name in zip(model.inputs, graph.names, strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_partial_shape(openvino.PartialShape([-1, -1]))
        port.get_node().set_element_type(openvino.Type.i64)
    model.validate_nodes_and_infer_types()
    if quantization == "int8":
        model = _quantize(model, graph, texts)
    openvino.save_model(model, directory / _FILE, compress_to_fp16=False)


def _quantize(model: Any, graph: TextGraph, texts: Sequence[TokenizedText]) -> Any:
    nncf = import_extra("nncf", "openvino")
    logging.getLogger("nncf").setLevel(logging.ERROR)
    batches = list(_batches(graph, texts))
    # Its progress bars obey no setting, and would go into a replica's log.
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return nncf.quantize(
            model,
            nncf.Dataset(batches),
            subset_size=len(batches),
            model_type=nncf.ModelType.TRANSFORMER,
            fast_bias_correction=True,
        )


def _batches(graph: TextGraph, texts: Sequence[TokenizedText]) -> Iterable[dict[str, Any]]:
    by_length = sorted(texts, key=lambda text: text.tokens)
    for start in range(0, len(by_length), _CALIBRATION_TEXTS):
        yield graph.arrays(by_length[start : start + _CALIBRATION_TEXTS])


def opened(
    directory: Path, graph: TextGraph, *, parallel_batches: int, threads: int, dtype: str
) -> "OpenVinoModel":
    """Compile a converted model for this CPU.

    ``parallel_batches`` share ``threads``; ``dtype`` is that of all that is not int8.
    """
    return OpenVinoModel(
        directory, graph, parallel_batches=parallel_batches, threads=threads, dtype=dtype
    )


class OpenVinoModel:
    """A model that OpenVINO runs (``Converted``)."""

    def __init__(
        self, directory: Path, graph: TextGraph, *, parallel_batches: int, threads: int, dtype: str
    ) -> None:
        openvino = import_extra("openvino", "openvino")
        properties = {
            "NUM_STREAMS": parallel_batches,
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": {"bfloat16": "bf16"}.get(dtype, "f32"),
            # Other replicas of the node would be pinned to the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        compiled = openvino.Core().compile_model(directory / _FILE, "CPU", properties)
        self._graph = graph
        self._requests: SimpleQueue[Any] = SimpleQueue()
        for _ in range(parallel_batches):
            self._requests.put(compiled.create_infer_request())

    def run(self, texts: Sequence[TokenizedText]) -> Rows:
        arrays = self._graph.arrays(texts)
        request = self._requests.get()
        try:
            rows = request.infer(arrays, share_inputs=True)[0]
            return np.array(rows, dtype=np.float32)
        finally:
            self._requests.put(request)
