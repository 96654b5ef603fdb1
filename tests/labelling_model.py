"""A guard for real Serve replicas: calls a text unsafe by one word."""

from collections.abc import AsyncIterator

import orjson

from handoff.chunk import Chunk, Outcomes


class LabellingModel:
    """Answers ``{"label": "unsafe"}`` if ``body.input`` has the word, else ``"safe"``."""

    def __init__(self, unsafe_word: str, window_records: int = 64) -> None:
        self._unsafe_word = unsafe_word
        self._window_records = window_records

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        outcomes = Outcomes(replica="", window_records=self._window_records)
        for index, line in enumerate(chunk.lines):
            text = orjson.loads(line)["body"]["input"]
            label = "unsafe" if self._unsafe_word in text else "safe"
            outcomes.add(index, 200, orjson.dumps({"label": label}))
        yield outcomes
