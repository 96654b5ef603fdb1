"""A chunk's next records, checked and tokenized: as many as are done in one go."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from schemas.handoff import Chunk
from serve_models.text_requests import Endpoints, Refusal, TextRequest

MOST_RECORDS = 64
"""A chunk is tokenized in slices, so that chunks take turns and the model starts on the first."""
_MOST_CHARACTERS = 1_048_576
"""Of several records; one that has more goes by itself."""


@dataclass(slots=True)
class Slice:
    """Some of a chunk's records, prepared.

    Attributes:
        stop: The chunk's next record.
        indexes: Records that were alive, by their position in the chunk.
        prepared: What became of each of them.
        expired: Records that were not.
    """

    stop: int
    indexes: list[int] = field(default_factory=list)
    prepared: list[TextRequest[Any] | Refusal] = field(default_factory=list)
    expired: list[int] = field(default_factory=list)


def prepare_slice(
    endpoints: Endpoints, chunk: Chunk, start: int, is_expired: Callable[[int | None], bool]
) -> Slice:
    """Check and tokenize a chunk's records from ``start`` on."""
    most_stop = min(start + MOST_RECORDS, len(chunk.lines))
    result = Slice(stop=most_stop)
    characters = 0
    for index in range(start, most_stop):
        if is_expired(chunk.deadline_ms(index)):
            result.expired.append(index)
            continue
        characters += endpoints.characters(chunk.lines[index])
        if result.indexes and characters > _MOST_CHARACTERS:
            result.stop = index
            break
        result.indexes.append(index)
    result.prepared = endpoints.prepare([chunk.lines[index] for index in result.indexes])
    return result
