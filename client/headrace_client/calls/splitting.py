"""Cuts long lists of inputs into requests. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any

MAX_REQUEST_CHARACTERS = 200_000
"""Of one request's texts: even where each character takes four bytes it is under the 1 MiB that
topics take by default."""


def cut(inputs: Sequence[Any], most: int) -> Iterator[tuple[int, int]]:
    """Yield ranges [first, end): at most so many inputs, and so long, in one request."""
    first, characters = 0, 0
    for index, each in enumerate(inputs):
        length = _characters(each)
        is_full = index - first >= most or characters + length > MAX_REQUEST_CHARACTERS
        if index > first and is_full:
            yield first, index
            first, characters = index, 0
        characters += length
    if first < len(inputs):
        yield first, len(inputs)


def _characters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_characters, value.values()))
    # Token ids have up to six digits and a comma.
    return 7 * len(value) if isinstance(value, Sequence) else 7
