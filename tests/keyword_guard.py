"""A stand-in for a safety classifier: a word decides, so that a test knows the answer."""

from collections.abc import AsyncIterator

import orjson

from handoff.chunk import STATUS_OK, Chunk, Outcomes


class KeywordGuard:
    """Answers /classify in the classifier's own form."""

    def __init__(self, unsafe_word: str) -> None:
        self._unsafe_word = unsafe_word

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        outcomes = Outcomes(replica="", window_records=256)
        for index, line in enumerate(chunk.lines):
            text = orjson.loads(line)["body"]["input"]
            unsafe = 0.99 if self._unsafe_word in text else 0.01
            probabilities = {"safe": 1 - unsafe, "unsafe": unsafe}
            body = {"data": [{"index": 0, "probabilities": probabilities}]}
            outcomes.add(index, STATUS_OK, orjson.dumps(body))
        yield outcomes
