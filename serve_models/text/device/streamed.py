"""Runs batches of a Sentence Transformers model by slots, on a device with queues of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sentence_transformers import SentenceTransformer

from serve_models.text.device.layouts import Layout, Shape
from serve_models.text.device.streams import Streams
from serve_models.text.models.base import Rows
from serve_models.text.models.tokenizing import TokenizedText

_LEAST_INTS = 4096


@dataclass(slots=True)
class _Buffers:
    """A slot's memory: what goes to the device, there and here, and what comes back."""

    host: torch.Tensor
    device: torch.Tensor
    rows: torch.Tensor
    texts: int = 0


class StreamedDevice:
    """The model, and the buffers of each slot (``device.loop.Device``).

    Buffers grow to the largest batch so far. ``width`` is that of a row; ``replays`` says whether
    the model is compiled, and so may replay captured graphs.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        layout: Layout,
        streams: Streams,
        *,
        slots: int,
        width: int,
        replays: bool = False,
    ) -> None:
        self._model = model
        self._layout = layout
        self._streams = streams
        self._width = width
        self._replays = replays
        self._slots = [self._buffers(_LEAST_INTS, 1) for _ in range(slots)]

    def stage(self, slot: int, texts: Sequence[TokenizedText]) -> Shape:
        layout = self._layout
        shape = layout.shape_of(texts)
        size = layout.size(shape)
        buffers = self._slots[slot]
        if size > len(buffers.host) or shape.outputs > len(buffers.rows):
            buffers = self._slots[slot] = self._buffers(
                max(size, len(buffers.host)), max(shape.outputs, len(buffers.rows))
            )
        buffers.texts = shape.texts
        layout.fill(texts, shape, buffers.host.numpy()[:size])
        return shape

    @torch.inference_mode()
    def launch(self, slot: int, staged: Shape) -> None:
        buffers, size = self._slots[slot], self._layout.size(staged)
        with self._streams.uploading(slot):
            buffers.device[:size].copy_(buffers.host[:size], non_blocking=True)
        with self._streams.computing(slot):
            if self._replays:
                # A graph may now overwrite what it returned for the batch before.
                torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            features = self._layout.forward(self._model, buffers.device[:size], staged)
            rows = features["sentence_embedding"].float()
            buffers.rows[: len(rows)].copy_(rows, non_blocking=True)

    def collect(self, slot: int) -> Rows:
        self._streams.wait(slot)
        buffers = self._slots[slot]
        rows: Rows = buffers.rows[: buffers.texts].numpy().copy()
        return rows

    def abandon(self, slot: int) -> None:  # noqa: ARG002 -- a failure may have stopped half way
        self._streams.wait_for_all()

    def _buffers(self, ints: int, rows: int) -> _Buffers:
        pins = self._streams.pins
        return _Buffers(
            host=torch.empty(ints, dtype=torch.int32, pin_memory=pins),
            device=torch.empty(ints, dtype=torch.int32, device=self._model.device),
            rows=torch.empty((rows, self._width), dtype=torch.float32, pin_memory=pins),
        )
