"""Hostile records: legal as Kafka's, and whatever else a producer may have put into them.

Everything comes from a seeded generator, so that a record that breaks something comes again.
"""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from schemas.wire import headers

URL = "/v1/embeddings"
Header = tuple[str, bytes | None]

_STRINGS = (
    "", "\x00", "a\u2028b", "\ud7ff", "\U0010ffff", "%s%n{}", "../../etc/passwd", "${HOME}",
    "'; drop table", "<script>", "x" * 600, "é" * 300, "\\u0000", "NaN", "true", "\ufeff",
)  # fmt: skip
_NUMBERS = (
    b"0", b"-0", b"1e308", b"1e309", b"-1e400", b"9" * 400, b"0." + b"1" * 400,
    b"18446744073709551616",
    b"-9223372036854775809", b"1E-999", b"NaN", b"Infinity", b"-Infinity", b"0x10", b"01", b"1.",
)  # fmt: skip
_BYTES = (
    b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"\x00", b"\x80", b"\xf4\x90\x80\x80",
    b"\xef\xbb\xbf",
)  # fmt: skip
_NAMES = (
    headers.DEADLINE, headers.JOB, headers.JOB_WEIGHT, headers.REPLY_TOPIC, headers.TRACEPARENT,
    headers.REPLAYS, headers.FAILURES, headers.SOURCE, headers.ERROR_CODE, headers.TENANT,
    "headrace-unknown", "", "x" * 300, "naïve", "\x00", "content-type",
)  # fmt: skip
_HEADER_VALUES = (
    None, b"", b"0", b"-1", b"1", b"100", b"101", b"1700000000000", b"9" * 15, b"9" * 16,
    b"9" * 5000,
    b"\xff\xfe", b"reply-1", b"reply-2", b"__consumer_offsets", b"reply-" + b"x" * 300, b"\x00",
    b"[]",
    b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01", b"{" * 500, "é".encode(), b"1e3", b" 5", b"+5",
)  # fmt: skip


class Hostile(NamedTuple):
    key: bytes | None
    value: bytes | None
    headers: list[Header]


class HostileRecords:
    """An endless supply; about a third are right, and a model answers them."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._shapes: list[Callable[[], bytes | None]] = [
            *[self._valid] * 6,
            *[self._mutated] * 4,
            self._truncated,
            self._deep,
            self._numbers,
            self._wrong_types,
            self._reference,
            self._bad_text,
            self._twice,
            self._noise,
            self._wide,
            self._framed,
            lambda: None,
        ]
        self._made = 0

    def next(self) -> Hostile:
        self._made += 1
        rnd = self._random
        value = rnd.choice(self._shapes)()
        key = rnd.choice((None, None, b"", b"k%d" % rnd.randrange(5), rnd.randbytes(9)))
        return Hostile(key, value, self._headers())

    def _headers(self) -> list[Header]:
        rnd = self._random
        if rnd.random() < 0.6:
            return []
        count = 300 if rnd.random() < 0.01 else rnd.randrange(1, 6)
        return [(rnd.choice(_NAMES), rnd.choice(_HEADER_VALUES)) for _ in range(count)]

    def _line(self, **changes: Any) -> dict[str, Any]:
        return {
            "custom_id": f"r{self._made}",
            "method": "POST",
            "url": URL,
            "body": {"input": "text", "model": "m"},
        } | changes

    def _valid(self) -> bytes:
        rnd = self._random
        texts: Any = rnd.choice(("a text", ["one", "two"], "x" * rnd.randrange(1, 400)))
        body: dict[str, Any] = {"input": texts}
        if rnd.random() < 0.3:
            body["dimensions"] = rnd.choice((1, 64, 64.0, 10**12, 0, -1, "64"))
        return orjson.dumps(self._line(body=body))

    def _mutated(self) -> bytes:
        rnd = self._random
        value = bytearray(self._valid())
        for _ in range(rnd.randrange(1, 4)):
            at = rnd.randrange(len(value) + 1)
            match rnd.randrange(4):
                case 0 if at < len(value):
                    value[at] = rnd.randrange(256)
                case 1:
                    del value[at : at + rnd.randrange(1, 8)]
                case 2:
                    value[at:at] = rnd.choice(_BYTES)
                case _:
                    value[at:at] = value[at : at + rnd.randrange(1, 30)]
        return bytes(value)

    def _truncated(self) -> bytes:
        value = self._valid()
        return value[: self._random.randrange(len(value))]

    def _deep(self) -> bytes:
        rnd = self._random
        depth = rnd.choice((30, 250, 254, 255, 256, 1000, 1024, 1025, 3000))
        opening, closing = rnd.choice(((b"[", b"]"), (b'{"a":', b"}")))
        nest = opening * depth + b"0" + closing * depth
        if rnd.random() < 0.3:
            nest = nest[: rnd.randrange(len(nest))]
        place = rnd.choice((b"input", b"other"))
        line = orjson.dumps(self._line(body={}))[:-3]
        url = rnd.choice((b"/v1/embeddings", b"/v1/embeddings/", b"v1/embeddings"))
        return line.replace(URL.encode(), url) + b'{"' + place + b'":' + nest + b"}}"

    def _numbers(self) -> bytes:
        rnd = self._random
        field = rnd.choice((b"dimensions", b"input", b"custom_id", b"other"))
        number = rnd.choice(_NUMBERS)
        if field == b"custom_id":
            return b'{"custom_id":' + number + b',"url":"/v1/embeddings","body":{"input":"t"}}'
        line = orjson.dumps(self._line(body={}))[:-3]
        more = b"" if field == b"input" else b',"input":"t"'
        return line + b'{"' + field + b'":' + number + more + b"}}"

    def _wrong_types(self) -> bytes:
        rnd = self._random
        odd: Any = rnd.choice((None, 0, 1.5, True, "", [], {}, [[]], [None], {"a": 1}, "x" * 5000))
        field = rnd.choice(("custom_id", "method", "url", "body", "body_ref", "input", "model"))
        if field in {"input", "model"}:
            return orjson.dumps(self._line(body={"input": "t"} | {field: odd}))
        line = self._line() | {field: odd}
        if rnd.random() < 0.2:
            del line[field]
        return orjson.dumps(line)

    def _reference(self) -> bytes:
        rnd = self._random
        url = rnd.choice(
            (
                "file:///etc/passwd", "s3://bucket/requests/../x", "s3://bucket/requests/%2e%2e/x",
                "http://169.254.169.254/latest", "s3://bucket/requests/a::http://x", "memory://",
                "s3://bucket/requests/" + "a" * 3000, "", "s3://bucket/requestsx", "s3://",
            )
        )  # fmt: skip
        reference: dict[str, Any] = {"url": url}
        if rnd.random() < 0.3:
            reference |= {"size_bytes": rnd.choice((0, -1, 10**15, "1")), "sha256": "zz"}
        line = self._line(body_ref=reference)
        if rnd.random() < 0.7:
            del line["body"]
        return orjson.dumps(line)

    def _bad_text(self) -> bytes:
        rnd = self._random
        text = rnd.choice(_STRINGS)
        where = rnd.choice(("custom_id", "url", "input"))
        if where == "input":
            value = orjson.dumps(self._line(body={"input": text + "!"}))
        else:
            value = orjson.dumps(self._line(**{where: text}))
        if rnd.random() < 0.5:
            value = value.replace(b"!", rnd.choice(_BYTES))
        return value.replace(b"POST", rnd.choice((b"POST", b"post", b"\\ud800", b"PUT")))

    def _twice(self) -> bytes:
        line = orjson.dumps(self._line())
        return self._random.choice(
            (
                line + line,
                line + b"\n",
                b"[" + line + b"]",
                line[:-1] + b',"custom_id":"again","url":"/v1/embeddings"}',
                b"\xef\xbb\xbf" + line,
                line.decode().encode("utf-16"),
                b" " * 2000 + line,
            )
        )

    def _noise(self) -> bytes:
        return self._random.randbytes(self._random.choice((0, 1, 2, 5, 40, 2000)))

    def _wide(self) -> bytes:
        rnd = self._random
        match rnd.randrange(4):
            case 0:
                body: Any = {"input": ["t"] * rnd.choice((1, 300, 3000))}
            case 1:
                body = {"input": "t"} | {f"k{n}": n for n in range(500)}
            case 2:
                body = {"input": "y" * rnd.choice((9_000, 11_000, 40_000))}
            case _:
                body = {"input": [{"image": "data:image/png;base64," + "A" * 4000}]}
        return orjson.dumps(self._line(body=body))

    def _framed(self) -> bytes:
        return b"\x00" + self._random.randbytes(4) + self._valid()
