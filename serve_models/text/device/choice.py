"""Chooses how a model's batches get to its device, and checks that the vectors stay the same."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer

from schemas.settings.models import EmbedderSettings
from serve_models.batching.limits import BatchLimits
from serve_models.chunks.failures import describe
from serve_models.text.device.layouts import Layout, PackedLayout, PaddedLayout, padding_ids_of
from serve_models.text.device.loop import DeviceLoop
from serve_models.text.device.streamed import StreamedDevice
from serve_models.text.device.streams import CudaStreams, HostStreams, Streams
from serve_models.text.device.varlen import VarlenSwitch
from serve_models.text.models.base import ModelSettingsError, Rows
from serve_models.text.models.tokenizing import TokenizedText, limit_of

logger = logging.getLogger(__name__)

_SAMPLE = ("river", "tax", "blue", "seven", "run")
_SAMPLE_WORDS = (200, 1, 60, 3, 20)
"""Short texts lie behind long ones of other words: what sees its neighbour differs."""
_LEAST_COSINE = 0.9999
_LEAST_COSINE_OF_HALVES = 0.998
"""Two ways to round to 16 bits differ by less; a text that sees its neighbour, by more."""
_FLASH_CAPABILITY = (8, 0)

COMPILE_OPTIONS: dict[str, Any] = {"mode": "reduce-overhead", "dynamic": True}

RunPlain = Callable[[Sequence[TokenizedText]], Rows]


@dataclass(frozen=True, slots=True)
class Plain:
    """A model as it was loaded, and the library's way to run it.

    Attributes:
        model: It, on its device.
        transformer: Its first module.
        run: Runs a batch.
        tokenize: Makes texts ready.
        width: Of its vectors.
        position_offset: The position of a text's first token.
    """

    model: SentenceTransformer
    transformer: Transformer
    run: RunPlain
    tokenize: Callable[[Sequence[str]], list[TokenizedText]]
    width: int
    position_offset: int


def batch_loop(plain: Plain, settings: EmbedderSettings) -> DeviceLoop | None:
    """Return the loop that runs the model's batches; ``None`` if the library's way is as good.

    Raises ``ModelSettingsError`` if the settings ask for what the model or the device cannot do.
    """
    is_cuda = plain.model.device.type == "cuda"
    if not is_cuda and not settings.compile and not settings.unpad_inputs:
        return None
    trial = _Trial(plain, settings)
    wants_packed = settings.unpad_inputs
    if wants_packed is None:
        wants_packed = _suits_flash(plain) and not settings.compile
    loop = _packed(trial) if wants_packed else None
    if loop is None and settings.unpad_inputs:
        raise ModelSettingsError(
            "unpad_inputs: this model's vectors are not the same without padding, or it cannot "
            "run so (the log says which); leave it unset"
        )
    return loop or _padded(trial, settings)


class _Trial:
    """Tries layouts on some texts of different lengths."""

    def __init__(self, plain: Plain, settings: EmbedderSettings) -> None:
        self.plain = plain
        device_type = plain.model.device.type
        self._slots = slots = BatchLimits.of(settings, device_type).parallel_batches
        self._replays = settings.compile
        device = plain.model.device
        self._queues = device.type == "cuda"
        self._streams: Streams = CudaStreams(device, slots) if self._queues else HostStreams()
        self._samples = plain.tokenize(
            [f"{word} " * words for word, words in zip(_SAMPLE, _SAMPLE_WORDS, strict=True)]
        )
        self._expected = plain.run(self._samples)

    def loop(self, layout: Layout) -> DeviceLoop | None:
        """Return a loop with this layout, if the vectors stay the same."""
        plain = self.plain
        streamed = StreamedDevice(
            plain.model,
            layout,
            self._streams,
            slots=self._slots,
            width=plain.width,
            replays=self._replays,
        )
        loop = DeviceLoop(
            streamed,
            self._slots,
            queues=self._queues,
            is_packed=isinstance(layout, PackedLayout),
        )
        try:
            cosine = least_cosine(loop.run(self._samples), self._expected)
        except Exception as error:  # noqa: BLE001 -- a layout that the model cannot run is none for it
            logger.info(
                "batches cannot be %s: %s",
                layout.name,
                describe(error),
                extra={
                    "event": "batch_layout",
                    "layout": layout.name,
                    "error_class": type(error).__name__,
                },
            )
            return None
        least = _LEAST_COSINE if _is_float32(plain.model) else _LEAST_COSINE_OF_HALVES
        if cosine >= least:
            return loop
        logger.warning(
            "batches are not %s: the vectors would change (cosine %.5f, at least %g)",
            layout.name,
            cosine,
            least,
            extra={"event": "batch_layout", "layout": layout.name, "cosine": round(cosine, 5)},
        )
        return None


def _packed(trial: _Trial) -> DeviceLoop | None:
    attention = VarlenSwitch(trial.plain.transformer)
    try:
        attention.turn_on()
    except Exception as error:  # noqa: BLE001 -- a model whose attention is its own is padded
        logger.info(
            "batches cannot be packed: %s",
            describe(error),
            extra={
                "event": "batch_layout",
                "layout": "packed",
                "error_class": type(error).__name__,
            },
        )
        return None
    loop = trial.loop(PackedLayout(trial.plain.position_offset))
    if loop is None:
        attention.turn_off()
    return loop


def _padded(trial: _Trial, settings: EmbedderSettings) -> DeviceLoop | None:
    transformer = trial.plain.transformer
    for prepares_mask in (True, False):
        loop = trial.loop(
            PaddedLayout(
                padding_ids_of(transformer),
                prepares_mask=prepares_mask,
                few_shapes=settings.compile,
                most_tokens=limit_of(trial.plain.model.max_seq_length),
            )
        )
        if loop is not None:
            if settings.compile:
                _compile(transformer)
            return loop
    if settings.compile:
        raise ModelSettingsError(
            "compile: this model's vectors change if its batches are filled up to few shapes; "
            "leave it false"
        )
    return None


def least_cosine(rows: Rows, expected: Rows) -> float:
    """Return the cosine of the two rows, float32 [texts, width], that are least alike."""
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(expected, axis=1)
    cosines = (rows * expected).sum(axis=1) / np.maximum(lengths, 1e-12)
    # NaN is no agreement.
    return float(np.min(np.nan_to_num(cosines, nan=-1.0)))


def _suits_flash(plain: Plain) -> bool:
    """Whether flash attention computes this dtype on this GPU."""
    device = plain.model.device
    return (
        device.type == "cuda"
        and not _is_float32(plain.model)
        and torch.cuda.get_device_capability(device) >= _FLASH_CAPABILITY
        and torch.version.cuda is not None
    )


def _is_float32(model: torch.nn.Module) -> bool:
    return next(model.parameters()).dtype == torch.float32


def _compile(transformer: Transformer) -> None:
    """Compile the model; on CUDA its kernels are replayed as graphs, one for each shape."""
    transformer.auto_model.compile(**COMPILE_OPTIONS)
