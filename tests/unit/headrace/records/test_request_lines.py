"""What is clear is read, in whatever format; what is not is told by its line."""

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.records.json_values import _TOKEN as TOKEN
from headrace.records.json_values import BrokenFileError
from headrace.records.lines import BadLine
from headrace.records.request_lines import RequestLines

OBJECTS: list[dict[str, Any]] = [
    {"custom_id": "a", "body": {"input": 'quotes " and \\ and {[ brackets'}},
    {"custom_id": "b\\", "body": {"input": "Zürich\n\u2028"}},
    {"custom_id": "c", "body": {"input": [[], {}, [{"x": '\\"'}]]}},
]
LINES = [orjson.dumps(each) for each in OBJECTS]


def read(data: bytes, sizes: list[int] | None = None, limit: int = 10_000) -> list[bytes | BadLine]:
    reader = RequestLines(limit)
    found: list[bytes | BadLine] = []
    start = 0
    for size in sizes or ():
        found += reader.feed(data[start : start + size])
        start += size
    return [*found, *reader.feed(data[start:]), *reader.finish()]


def parsed(lines: list[bytes | BadLine]) -> list[Any]:
    assert all(isinstance(line, bytes) and b"\n" not in line for line in lines)
    return [orjson.loads(line) for line in lines if isinstance(line, bytes)]


FORMATS = {
    "lines": b"\n".join(LINES),
    "lines with blank ones": b"\r\n \n" + b"\r\n\r\n".join(LINES) + b"\n\n",
    "array": b"[" + b",".join(LINES) + b"]",
    "pretty array": json.dumps(OBJECTS, indent=2).encode(),
    "array of lines": b"[\n" + b",\n".join(LINES) + b"\n]\n",
    "pretty objects": b"\n".join(json.dumps(each, indent=1).encode() for each in OBJECTS),
}


@given(
    st.sampled_from(sorted(FORMATS)),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]),
    st.lists(st.integers(1, 20)),
)
def test_every_format_gives_the_same_requests(name: str, encoding: str, sizes: list[int]) -> None:
    data = FORMATS[name].decode().encode(encoding)
    assert parsed(read(data, sizes)) == OBJECTS


@pytest.mark.parametrize("one", [LINES[0], LINES[0] + b"\n", json.dumps(OBJECTS[0], indent=4)])
def test_one_request_is_a_file(one: bytes | str) -> None:
    assert parsed(read(one if isinstance(one, bytes) else one.encode())) == OBJECTS[:1]


def test_the_bytes_of_a_line_are_untouched() -> None:
    line = b'  {"custom_id":"\\u0061", "n": 1.50, "big": 123456789012345678901234567890} \r'
    assert read(line + b"\n") == [line]
    assert read(b"[" + line + b"]") == [line.strip()]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"not json", "is not JSON"),
        (b'{"custom_id": "a", "body": {"input": NaN}}', "is not JSON"),
        (b'{"custom_id": "a"', "is not JSON"),
        (b'"a"', "is no object"),
        (b"[]", "is no object"),
        (b"\xff\xfe", "is not JSON"),
        (b"{" + b" " * 500 + b"}", "has 502 bytes, over the 500 of a line"),
    ],
)
def test_a_broken_line_is_told_by_its_number(bad: bytes, reason: str) -> None:
    first, second, third = read(LINES[0] + b"\n\n" + bad + b"\n" + LINES[1], limit=500)
    assert (first, third) == (LINES[0], LINES[1])
    assert isinstance(second, BadLine)
    assert second.number == 3
    assert second.reason.startswith(reason)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "line 1 is the end"),
        (b" \n\r\n", "line 1 is the end"),
        (b"\xef\xbb\xbf", "line 1 is the end"),
        (b"[]", "line 1 is the end"),
        (b'[\n{"a": 1},\n{"b": [', "line 3 begins a JSON object that is never closed"),
        (b'[\n{"a": 1},\n', "line 3 ends the file within its JSON array"),
        (b'[{"a": 1}]\n{"b": 2}', "line 2 goes on behind the end of the JSON array"),
        (b'[\n{"a": 1},\n7]', "line 3 has something else than a JSON object"),
        (b"[[{}]]", "line 1 has something else than a JSON object"),
        (b'{\n"a": 1}\n]', "line 3 has something else than a JSON object"),
        (b'{"a": \n{"b": 2}\n{"c": 3}', "line 1 begins a JSON object that is never closed"),
        (b'[{"a": "' + b"x" * 500 + b'"}]', "line 1 begins an object of more than 500 bytes"),
        ('{"a": 1}\n{"b": 2}\n'.encode("utf-16-le") + b"\x00\xd8\x00", "line 3 or a later one"),
    ],
)
def test_a_file_that_is_not_what_it_began_as_is_told_by_its_line(data: bytes, message: str) -> None:
    with pytest.raises(BrokenFileError, match=message):
        read(data, limit=500)


def test_a_broken_object_of_an_array_is_told_by_its_line() -> None:
    good, bad = read(b'[{"a": 1},\n\n{"b": nul}]')
    assert good == b'{"a": 1}'
    assert isinstance(bad, BadLine)
    assert (bad.number, bad.reason[:11]) == (3, "is not JSON")


@given(st.binary(max_size=60) | st.text('{}[]",\\\n 1', max_size=30).map(str.encode))
def test_any_bytes_are_read_or_told(data: bytes) -> None:
    try:
        lines = read(data)
    except BrokenFileError:
        return
    assert lines
    assert all(isinstance(line, BadLine) or orjson.loads(line) is not None for line in lines)


def test_a_large_object_is_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[bytes] = []

    class CountedToken:
        def finditer(self, buffer: bytes, start: int) -> Iterator[re.Match[bytes]]:
            for token in TOKEN.finditer(buffer, start):
                found.append(token[0])
                yield token

    monkeypatch.setattr("headrace.records.json_values._TOKEN", CountedToken())
    texts = [f"text {number}" for number in range(5_000)]
    data = json.dumps({"custom_id": "a", "body": {"input": texts}}, indent=1).encode()
    assert parsed(read(data, [100] * (len(data) // 100), limit=len(data))) == [json.loads(data)]
    # Beside those are the strings that were cut, once for each piece.
    assert len(found) < 2 * len(texts)
