"""The object store port."""

from dataclasses import dataclass
from typing import Protocol

from schemas.wire.references import BodyReference, RequestBodyReference

STATUS_BAD_REQUEST = 400


@dataclass(frozen=True, slots=True)
class BodyRefused:
    """A reference that cannot be followed, and how to answer; a retry would not help."""

    status_code: int
    code: str
    message: str


class BodyRefusedError(Exception):
    def __init__(self, refused: BodyRefused) -> None:
        super().__init__(refused.message)
        self.refused = refused


class StoreError(Exception):
    """The store failed, which is not the record's fault; a retry may help."""


class BodyStore(Protocol):
    async def write(self, name: str, body: bytes) -> BodyReference:
        """Store a body durably; the same body under the same name again changes nothing.

        Raises:
            StoreError: The store failed.
        """
        ...

    async def size_bytes(self, url: str) -> int:
        """Return the size of an object that may be read.

        Raises:
            BodyRefusedError: The url may not be followed, or leads to nothing that may be read.
            StoreError: The store failed.
        """
        ...

    async def read(self, reference: RequestBodyReference) -> bytes:
        """Return the referenced body, checked against the reference's size and checksum.

        Raises:
            BodyRefusedError: The reference may not be followed, or leads to nothing or to something
                else.
            StoreError: The store failed.
        """
        ...

    def close(self) -> None: ...
