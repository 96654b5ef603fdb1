"""A model for real Serve replicas that logs what it is told, as models of others may."""

import logging
import os
from collections.abc import AsyncIterator

import orjson

from headrace.sdk import STATUS_OK, Chunk, Outcomes

log = logging.getLogger(__name__)
serve_log = logging.getLogger("ray.serve")


class TalkativeModel:
    """Says ``body.say`` in a line of its own, and in one of Ray Serve's logger."""

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        outcomes = Outcomes(replica="", window_records=16)
        for index, line in enumerate(chunk.lines):
            text = orjson.loads(line)["body"]["say"]
            log.warning("own: %s", text)
            serve_log.warning("serve: %s", text)
            outcomes.add(index, STATUS_OK, orjson.dumps({"pid": os.getpid()}))
        yield outcomes
