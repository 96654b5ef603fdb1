"""What a replica and a front process say to each other, as fields of frames. Pure.

A front process numbers the requests that it accepts, in the order of their lines. The replica names
them by number when it sends their rows, and when it drops them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from handoff.chunk import STATUS_OK
from serve_models.chunks.failures import Refusal
from serve_models.text.front.frames import Field, join_parts, split_parts
from serve_models.text.models.tokenizing import TokenizedText

_NO_BYTES = b""


class Do(StrEnum):
    """What a front process is to do."""

    USE = "use"
    """Read requests as the spec in the next field says, from now on."""
    PREPARE = "prepare"
    """Check and tokenize lines."""
    RESPOND = "respond"
    """Write the responses of requests, of which the rows are here."""


@dataclass(frozen=True, slots=True)
class Order:
    """The first field of what a replica sends.

    Attributes:
        do: What to do with the other fields.
        dropped: Numbers of requests that nobody waits for any more.
        max_body_bytes: The most that a response may have; 0 for no limit.
    """

    do: Do
    dropped: Sequence[int] = ()
    max_body_bytes: int = 0

    def encode(self) -> bytes:
        return orjson.dumps([self.do, list(self.dropped), self.max_body_bytes])

    @classmethod
    def decode(cls, field: memoryview) -> "Order":
        do, dropped, max_body_bytes = orjson.loads(field)
        return cls(Do(do), dropped, max_body_bytes)


def encode_lines(order: Order, lines: Sequence[bytes]) -> list[Field]:
    return [order.encode(), *join_parts(lines)]


def decode_lines(fields: Sequence[memoryview]) -> list[bytes]:
    return split_parts(fields[1], fields[2])


def encode_prepared(prepared: Sequence[Sequence[TokenizedText] | Refusal]) -> list[Field]:
    """Return the texts of each line, or its refusal."""
    statuses, counts, refusals = [], [], []
    texts: list[TokenizedText] = []
    for each in prepared:
        if isinstance(each, Refusal):
            statuses.append(each.status)
            counts.append(0)
            refusals.append(each.body)
        else:
            statuses.append(STATUS_OK)
            counts.append(len(each))
            texts.extend(each)
    has_prompts = any(text.prompt_tokens for text in texts)
    has_types = any(len(text.type_ids) for text in texts)
    has_truncated = any(text.truncated for text in texts)
    return [
        np.array(statuses, np.int32).tobytes(),
        np.array(counts, np.int32).tobytes(),
        np.array([text.tokens for text in texts], np.int32).tobytes(),
        np.array([text.prompt_tokens for text in texts], np.int32).tobytes()
        if has_prompts
        else _NO_BYTES,
        b"".join(bytes(text.ids) for text in texts),
        b"".join(_type_ids(text) for text in texts) if has_types else _NO_BYTES,
        *join_parts(refusals),
        bytes(text.truncated for text in texts) if has_truncated else _NO_BYTES,
    ]


def decode_prepared(fields: Sequence[memoryview]) -> Iterator[list[TokenizedText] | Refusal]:
    """Yield the texts of each line, or its refusal. Token ids are views of the frame."""
    statuses, counts, tokens, prompts = (
        np.frombuffer(field, np.int32).tolist() for field in fields[:4]
    )
    ids, type_ids = fields[4].cast("i"), fields[5].cast("b")
    refusals = iter(split_parts(fields[6], fields[7]))
    truncated = fields[8]
    text = start = 0
    for status, count in zip(statuses, counts, strict=True):
        if status != STATUS_OK:
            yield Refusal(status, next(refusals))
            continue
        texts = []
        for _ in range(count):
            stop = start + tokens[text]
            texts.append(
                TokenizedText(
                    tokens=tokens[text],
                    truncated=bool(truncated[text]) if truncated else False,
                    ids=ids[start:stop],
                    type_ids=type_ids[start:stop],
                    prompt_tokens=prompts[text] if prompts else 0,
                )
            )
            text, start = text + 1, stop
        yield texts


def encode_rows(
    order: Order, numbers: Sequence[int], rows: Sequence[NDArray[np.float32]]
) -> list[Field]:
    """Return the rows of some requests, one request after the other."""
    width = len(rows[0]) if rows else 0
    stacked = np.concatenate(rows) if rows else np.empty(0, np.float32)
    return [
        order.encode(),
        np.array(numbers, np.int64).tobytes(),
        np.array([width], np.int64).tobytes(),
        stacked.astype(np.float32, copy=False).tobytes(),
    ]


def decode_rows(fields: Sequence[memoryview]) -> tuple[list[int], NDArray[np.float32]]:
    """Return the requests' numbers, and all their rows, float32 [rows, width]."""
    numbers: list[int] = np.frombuffer(fields[1], np.int64).tolist()
    width = int(np.frombuffer(fields[2], np.int64)[0])
    rows: NDArray[np.float32] = np.frombuffer(fields[3], np.float32).reshape(-1, max(width, 1))
    return numbers, rows


def encode_bodies(bodies: Sequence[bytes | Refusal]) -> list[Field]:
    statuses = [each.status if isinstance(each, Refusal) else STATUS_OK for each in bodies]
    contents = [each.body if isinstance(each, Refusal) else each for each in bodies]
    return [np.array(statuses, np.int32).tobytes(), *join_parts(contents)]


def decode_bodies(fields: Sequence[memoryview]) -> list[bytes | Refusal]:
    statuses: list[Any] = np.frombuffer(fields[0], np.int32).tolist()
    contents = split_parts(fields[1], fields[2])
    return [
        content if status == STATUS_OK else Refusal(status, content)
        for status, content in zip(statuses, contents, strict=True)
    ]


def _type_ids(text: TokenizedText) -> bytes:
    return bytes(text.type_ids) if len(text.type_ids) else bytes(text.tokens)
