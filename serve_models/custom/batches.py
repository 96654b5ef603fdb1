"""Adapts a batched model to the batch engine: bodies in, response bodies out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from schemas.bodies.base import BodyRefusedError
from serve_models.batching.engine import BatchEngine
from serve_models.batching.limits import BatchLimits
from serve_models.chunks.chunk_server import Host
from serve_models.chunks.failures import ENDS_THE_PROCESS, Refusal
from serve_models.custom.batched_model import BatchedModel
from serve_models.custom.engine import PATIENCE

_NO_LIMIT = 2**62
_LARGEST_SIZE = 2**40
"""Sizes are added up in 64 bits; a larger one makes a batch of its own either way."""


@dataclass(slots=True)
class _Record:
    body: Any
    tokens: int
    answer: Any = None
    truncated: bool = False

    @property
    def texts(self) -> "tuple[_Record]":
        return (self,)

    def place(self, _position: int, row: Any) -> bool:
        self.answer = row
        return True


class _Bodies:
    def __init__(self, model: BatchedModel) -> None:
        self._model = model

    def characters(self, line: bytes) -> int:
        return len(line)

    def prepare(self, lines: Sequence[bytes], _max_body_bytes: int) -> list[_Record | Refusal]:
        return [self._prepare(line) for line in lines]

    def respond(self, records: Sequence[_Record]) -> list[bytes | Refusal]:
        return [_encode(record.answer) for record in records]

    def probe(self) -> _Record | None:
        self._model.check_health()
        body = self._model.probe()
        return None if body is None else _Record(body, 1)

    def run(self, records: Sequence[_Record]) -> list[Any]:
        answers = list(self._model.predict([record.body for record in records]))
        if len(answers) != len(records):
            raise ValueError(
                f"predict returned {len(answers)} answers for {len(records)} bodies; it must "
                "return one for each"
            )
        return [
            Refusal.of(answer) if isinstance(answer, BodyRefusedError) else answer
            for answer in answers
        ]

    def _prepare(self, line: bytes) -> _Record | Refusal:
        try:
            body = orjson.loads(line)["body"]
            size = int(self._model.size(body))
            return _Record(body, min(max(1, size), _LARGEST_SIZE))
        except ENDS_THE_PROCESS:
            raise
        except BaseException as error:  # noqa: BLE001 -- one record must not cost the others
            return Refusal.of(error)


def serve_batches(model: BatchedModel, host: Host) -> BatchEngine:
    """Return the engine that answers chunks with a batched model; call its ``start``."""
    bodies = _Bodies(model)
    limits = BatchLimits(
        token_budget_tokens=model.max_batch_size or _NO_LIMIT,
        max_batch_texts=model.max_batch_records,
        parallel_batches=model.parallel_batches,
        threads=1,
        budget_name="max_batch_size" if model.max_batch_size else "max_batch_records",
        # A size may count anything: pixels, say.
        holds_tokens=False,
        pads=False,
    )
    return BatchEngine(
        bodies,
        bodies,
        limits=limits,
        host=host,
        outcome_linger_ms=model.outcome_linger_ms,
        patience=PATIENCE,
    )


def _encode(answer: Any) -> bytes | Refusal:
    if isinstance(answer, bytes):
        return answer
    if not isinstance(answer, dict):
        return Refusal.of(
            TypeError(
                "predict must return a dict, bytes of a JSON object or a BodyRefusedError for "
                f"each body, not {type(answer).__name__}"
            )
        )
    try:
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        return Refusal.of(error)
