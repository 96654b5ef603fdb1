"""The object store, as the consumer needs it."""

from dataclasses import dataclass
from typing import Protocol

from schemas.wire.references import BodyReference, RequestBodyReference

STATUS_BAD_REQUEST = 400


@dataclass(frozen=True, slots=True)
class BodyRefused:
    """The reference leads nowhere, or to what it does not say; asking again would not help."""

    status_code: int
    code: str
    message: str


class BodyRefusedError(Exception):
    """A store's answer to a reference that cannot be followed.

    Args:
        refused: What to answer the request.
    """

    def __init__(self, refused: BodyRefused) -> None:
        super().__init__(refused.message)
        self.refused = refused


class StoreError(Exception):
    """The store failed, which is no fault of the record's; trying again may help."""


class BodyStore(Protocol):
    """Where bodies are deposited and fetched."""

    async def write(self, name: str, body: bytes) -> BodyReference:
        """Store a body; when this returns it is there to stay.

        Writing the same body under the same name again changes nothing.

        Raises:
            StoreError: The store failed.
        """
        ...

    async def size_bytes(self, url: str) -> int:
        """Return an object's size, which is one that may be read.

        Raises:
            BodyRefusedError: The url may not be followed, or leads to nothing that may be read.
            StoreError: The store failed.
        """
        ...

    async def read(self, reference: RequestBodyReference) -> bytes:
        """Return what a reference leads to, if it is of the size and checksum that it says.

        Raises:
            BodyRefusedError: It may not be followed, or leads to nothing or to something else.
            StoreError: The store failed.
        """
        ...

    def close(self) -> None: ...
