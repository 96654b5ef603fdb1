"""The demo's records: shipped lines, and bad records that a file cannot have. Pure."""

from dataclasses import dataclass

import orjson

from schemas.wire import headers

HUGE_INPUTS = 50_000


@dataclass(frozen=True, slots=True)
class DemoRecord:
    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


def demo_records(lines: list[bytes], now_ms: int) -> list[DemoRecord]:
    body = {"model": "minilm", "input": "An answer to this comes too late to be of use."}
    late = {"custom_id": "bad-expired", "method": "POST", "url": "/v1/embeddings", "body": body}
    huge = {**late, "custom_id": "bad-too-many", "body": {"input": ["again"] * HUGE_INPUTS}}
    deadline = (headers.DEADLINE, b"%d" % (now_ms - 60_000))
    return [
        *(DemoRecord(line) for line in lines),
        DemoRecord(orjson.dumps(huge)),
        DemoRecord(orjson.dumps(late), headers=(deadline,)),
        DemoRecord(None, key=b"tombstone"),
    ]
