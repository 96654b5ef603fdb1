"""A stand-in for a generator's engine: slots and steps as vLLM has them, and no model."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from handoff.chunk import STATUS_OK
from handoff.clock import AwakeClock, Clock
from serve_models.generation.engine import Answer

SHORTEST_MS, LONGEST_MS = 1, 20


@dataclass(slots=True, eq=False)
class Sequence:
    """One generation: in the queue, then in a slot until it is ``due_s``."""

    milliseconds: float
    done: asyncio.Future[None]
    due_s: float = 0.0


class StandInEngine:
    """Answers each request after as many milliseconds as its ``max_tokens``.

    A request that is cancelled leaves its slot, which the next step fills.

    Args:
        max_num_seqs: The slots.
        clock: Time; the machine's if unset.
    """

    def __init__(self, max_num_seqs: int, clock: Clock | None = None) -> None:
        self.max_num_seqs = max_num_seqs
        self.steps = 0
        self._clock = clock or AwakeClock()
        self._waiting: OrderedDict[Sequence, None] = OrderedDict()
        self._running: dict[Sequence, None] = {}

    @property
    def running(self) -> int:
        """How many slots are taken."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many requests wait for a slot."""
        return len(self._waiting)

    async def answer(self, url: str, body: Mapping[str, Any]) -> Answer:
        """Wait for the generation, as long as nobody cancels it."""
        milliseconds = float(body["max_tokens"])
        sequence = Sequence(milliseconds, asyncio.get_running_loop().create_future())
        self._waiting[sequence] = None
        try:
            await sequence.done
        finally:
            self._waiting.pop(sequence, None)
            self._running.pop(sequence, None)
        return Answer(STATUS_OK, _body(url, int(milliseconds)), tokens=int(milliseconds))

    def step(self) -> None:
        """End the generations that are due, and fill their slots."""
        self.steps += 1
        now_s = self._clock.monotonic()
        ended = [each for each in self._running if each.due_s <= now_s]
        for sequence in ended:
            del self._running[sequence]
            if not sequence.done.done():
                sequence.done.set_result(None)
        while self._waiting and len(self._running) < self.max_num_seqs:
            sequence, _ = self._waiting.popitem(last=False)
            sequence.due_s = now_s + sequence.milliseconds / 1000
            self._running[sequence] = None

    async def run(self, step_s: float) -> None:
        """Step for ever."""
        while True:
            await asyncio.sleep(step_s)
            self.step()

    def check_alive(self) -> None:
        """Do nothing: it is."""

    def shut_down(self) -> None:
        """Do nothing: it has no processes."""


def _body(url: str, tokens: int) -> bytes:
    return orjson.dumps(
        {
            "id": "cmpl-0",
            "object": "text_completion",
            "created": 1_795_000_000,
            "model": "stand-in",
            "choices": [{"index": 0, "text": " word" * tokens, "finish_reason": "length"}],
            "usage": {
                "prompt_tokens": 24,
                "completion_tokens": tokens,
                "total_tokens": 24 + tokens,
            },
            "url": url,
        }
    )
