"""Server-sent events. Pure.

``overview`` carries the whole document, ``patch`` what changed of it since the event before;
``history`` the points of the last minutes, ``point`` the newest of them.
"""

from typing import Any

import orjson

RETRY_MS = 1_000
FIRST = f"retry: {RETRY_MS}\n\n".encode()
"""Tells a browser how soon to connect again."""
BEAT = b": \n\n"
"""A comment: what stands between keeps a connection open on which something comes."""


def event(name: str, value: Any) -> bytes:
    """Return an event; JSON of orjson has no line breaks."""
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(value) + b"\n\n"
