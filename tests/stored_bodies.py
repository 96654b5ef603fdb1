"""An object store in memory that keeps the promises of ``BodyStore``, and fails on demand."""

import asyncio
import hashlib

from consumer.engine.bodies.store import BodyRefused, BodyRefusedError, StoreError
from schemas.wire.references import BodyReference, RequestBodyReference


class StoredBodies:
    """Bodies by URL.

    Args:
        move_s: How long each answer takes.
    """

    def __init__(self, move_s: float = 0.01) -> None:
        self.bodies: dict[str, bytes] = {}
        self.writes = 0
        self.is_away = False
        self.at_once = 0
        self.most_at_once = 0
        self._move_s = move_s

    async def write(self, name: str, body: bytes) -> BodyReference:
        await self._answer()
        self.writes += 1
        sha256 = hashlib.sha256(body).hexdigest()
        url = f"memory://store/{name}-{sha256[:16]}.json"
        self.bodies[url] = body
        return BodyReference(url=url, size_bytes=len(body), sha256=sha256)

    async def size_bytes(self, url: str) -> int:
        await self._answer()
        return len(self._body(url))

    async def read(self, reference: RequestBodyReference) -> bytes:
        await self._answer()
        return self._body(reference.url)

    def close(self) -> None:
        pass

    def _body(self, url: str) -> bytes:
        if url not in self.bodies:
            raise BodyRefusedError(BodyRefused(404, "body_not_found", "there is no such object"))
        return self.bodies[url]

    async def _answer(self) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self._move_s)
        self.at_once -= 1
        if self.is_away:
            raise StoreError("the store is away")
