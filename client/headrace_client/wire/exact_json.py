"""JSON that is kept. Pure."""

from collections.abc import Callable
from typing import Any

import orjson


def exact_json(
    value: Any, *, default: Callable[[Any], Any] | None = None, option: int | None = None
) -> bytes:
    """Return JSON as ``orjson.dumps`` does, in no more memory than it has bytes.

    orjson makes room for the longest that the JSON could be, and gives none of it back: a text of
    300 bytes takes 4 KiB for as long as its JSON is kept.
    """
    return bytes(memoryview(orjson.dumps(value, default=default, option=option)))
