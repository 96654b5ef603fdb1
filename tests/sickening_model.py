"""A model for real Serve replicas that breaks if a record says so, and stays broken."""

import os
from collections.abc import AsyncIterator
from typing import Any

import orjson

from headrace.sdk import STATUS_FAILED, STATUS_OK, BatchedModel, Chunk, Outcomes


class SickeningModel:
    """Answers with its process id until ``body.break`` is set, then fails on everything."""

    def __init__(self) -> None:
        self._is_sick = False

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        outcomes = Outcomes(replica="", window_records=16)
        for index, line in enumerate(chunk.lines):
            self._is_sick = self._is_sick or orjson.loads(line)["body"].get("break", False)
            status = STATUS_FAILED if self._is_sick else STATUS_OK
            outcomes.add(index, status, orjson.dumps({"pid": os.getpid()}))
        yield outcomes

    def check_health(self) -> None:
        if self._is_sick:
            raise RuntimeError("an error that sticks")


class SickeningBatches(BatchedModel):
    """The same, answering batches; only the probe tells that it stays broken."""

    def load(self) -> None:
        self._is_sick = False

    def predict(self, bodies: list[Any]) -> list[Any]:
        self._is_sick = self._is_sick or any(body.get("break", False) for body in bodies)
        if self._is_sick:
            raise RuntimeError("an error that sticks")
        return [{"pid": os.getpid()} for _ in bodies]

    def probe(self) -> Any:
        return {}
