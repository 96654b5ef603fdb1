"""Answers chunks with a generator. Neither Ray nor vLLM here.

Each record goes to the model at once, in a task of its own: the model decides which sequences run
together (continuous batching).
"""

import asyncio
import logging
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import orjson

from handoff.chunk import STATUS_EXPIRED, STATUS_FAILED
from handoff.exporting import Readings
from serve_models.chunks.call import Call
from serve_models.chunks.chunk_server import ChunkServer, Host, ReplicaLostError
from serve_models.chunks.failures import ENDS_THE_TASK, encode_failure_body
from serve_models.chunks.window import SharedWindow

logger = logging.getLogger(__name__)

WORKING_EVERY_S = 60.0
"""How often callers learn that the model works on their records. A reasoning model may need hours
for one; without a sign, the caller would take the replica for hung and send the record again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The model's answer to one request.

    Attributes:
        status: HTTP status; from ``STATUS_FAILED`` up the model failed, not the request.
        body: The response's body as UTF-8 JSON.
        tokens: Read and generated for it; ``None`` if not counted.
    """

    status: int
    body: bytes
    tokens: int | None = None


class GeneratingModel(Protocol):
    """A model that answers requests side by side."""

    @property
    def max_num_seqs(self) -> int: ...

    async def answer(self, url: str, body: dict[str, Any]) -> Answer:
        """Answer one request, or raise ``ReplicaLostError`` if the model cannot go on.

        Cancelling it frees what the request uses in the model.
        """
        ...

    def check_alive(self) -> None:
        """Raise ``ReplicaLostError`` if the model cannot go on."""
        ...

    def shut_down(self) -> None:
        """Free what the model uses: memory, processes."""
        ...


class GenerationEngine(ChunkServer):
    """Answers the records of many calls side by side.

    ``in_flight_ratio`` is the records in flight divided by the model's ``max_num_seqs``.
    """

    def __init__(
        self,
        model: GeneratingModel,
        *,
        in_flight_ratio: float,
        outcome_linger_ms: float,
        host: Host,
    ) -> None:
        super().__init__(
            host, SharedWindow(model.max_num_seqs * in_flight_ratio), outcome_linger_ms
        )
        self._model = model
        self._sign: asyncio.TimerHandle | None = None

    def readings(self) -> Readings:
        of_calls = super().readings()
        gauges = {**of_calls.gauges, "generator_slots": self._model.max_num_seqs}
        return Readings(of_calls.counters, gauges)

    def set_in_flight_ratio(self, in_flight_ratio: float) -> None:
        self.resize_window(self._model.max_num_seqs * in_flight_ratio)

    @property
    def in_flight_records(self) -> int:
        """Records that the model works on, or has not yet let go of."""
        return len(self._tasks)

    def say_working(self) -> None:
        """Tell every caller that the model works, unless it hangs or is gone."""
        if self._find_loss() is None:
            for call in self._calls:
                call.say_working()

    def _begin(self, call: Call) -> None:
        if self._sign is None:
            self._sign = asyncio.get_running_loop().call_later(WORKING_EVERY_S, self._give_sign)
        lines = call.chunk.lines
        for index, line in enumerate(lines):
            self._start(partial(self._answer, call, index, line), call)
            # One record may take hours; the lines of the others must not stay in memory for it.
            lines[index] = b""

    def _let_go(self, call: Call, index: int) -> None:
        call.tasks[index].cancel()

    def _reports_first(self, call: Call) -> bool:  # noqa: ARG002 -- every call does
        # Otherwise a consumer would learn the window when the first generation ends.
        return True

    def _check_alive(self) -> None:
        self._model.check_alive()

    def _shut_down(self) -> None:
        if self._sign is not None:
            self._sign.cancel()
        self._model.shut_down()

    def _give_sign(self) -> None:
        self._sign = None
        self.say_working()
        if self._calls:
            self._sign = asyncio.get_running_loop().call_later(WORKING_EVERY_S, self._give_sign)

    async def _answer(self, call: Call, index: int, line: bytes) -> None:
        if self._expire_if_late(call, index):
            return
        limit = asyncio.timeout(self._left_s(call, index))
        try:
            async with limit:
                request = orjson.loads(line)
                answer = await self._model.answer(request["url"], request["body"])
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # The record was not cancelled: something inside the model was.
            call.answer(index, STATUS_FAILED, encode_failure_body(error))
        except ENDS_THE_TASK:
            raise
        except ReplicaLostError as error:
            self._die(error)
        except BaseException as error:
            if limit.expired():
                call.answer(index, STATUS_EXPIRED, b"")
                return
            logger.exception(
                "the model failed on a record", extra={"event": "record_failed_in_model"}
            )
            call.answer(index, STATUS_FAILED, encode_failure_body(error))
        else:
            # The model may have taken the cancellation and answered all the same.
            status = STATUS_EXPIRED if limit.expired() else answer.status
            call.answer(index, status, answer.body, answer.tokens)
