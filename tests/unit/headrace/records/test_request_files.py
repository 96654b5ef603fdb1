"""Files are looked at as a whole before anything of them is sent."""

import asyncio
import bz2
import gzip
import io
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import cramjam
import orjson
import pytest

from headrace.cli import main
from headrace.cli.records.submit import _read_lines
from headrace.errors import UserError
from headrace.records.files import check_lines, decompressed, open_file, read_some
from headrace.records.lines import BadLine
from headrace.records.request_lines import RequestLines
from headrace.records.submission import MAX_LINE_BYTES

LINES = [orjson.dumps({"custom_id": str(number), "body": {}}) for number in range(30_000)]
PLAIN = b"\n".join(LINES) + b"\n"
SETTINGS = str(Path(__file__).parents[4] / "headrace.yaml")


def zstd(data: bytes) -> bytes:
    return bytes(cramjam.zstd.compress(data))


@pytest.mark.parametrize(
    "data",
    [
        PLAIN,
        gzip.compress(PLAIN),
        gzip.compress(PLAIN[:100_000]) + gzip.compress(PLAIN[100_000:]),
        zstd(PLAIN),
        zstd(PLAIN[:100_000]) + zstd(PLAIN[100_000:]),
        gzip.compress(PLAIN.decode().encode("utf-16")),
        zstd(b"[" + b",".join(LINES) + b"]"),
    ],
    ids=["plain", "gzip", "two gzips", "zstd", "two zstds", "utf-16 in gzip", "array in zstd"],
)
def test_a_file_is_checked_and_read_whatever_it_is_packed_in(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "requests"
    file.write_bytes(data)
    with open_file(str(file)) as opened, decompressed(opened, "requests") as source:
        check_lines(source, "requests", lambda _: None)
        source.seek(0)
        reader = RequestLines(MAX_LINE_BYTES)
        lines: list[bytes | BadLine] = []
        while part := read_some(source):
            lines += reader.feed(part)
        assert [*lines, *reader.finish()] == LINES


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not one request line"),
        (b"custom_id,text\n1,a\n", "line 1 is not JSON"),
        (PLAIN + b"oops\n", "line 30001 is not JSON"),
        (PLAIN + b"oops\n" * 9, "… and more"),
        (json.dumps([{"a": 1}], indent=1).encode()[:-1], "cut off"),
        (gzip.compress(PLAIN)[:-9], "broken gzip"),
        (gzip.compress(PLAIN)[:99] + b"xx" + gzip.compress(PLAIN)[101:], "broken gzip"),
        (zstd(PLAIN)[:-9], "broken zstd"),
        (bz2.compress(PLAIN), "compressed by bzip2"),
        (b"PAR1" + PLAIN, "a Parquet file"),
    ],
)
def test_nothing_of_a_broken_file_is_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes, words: str
) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_bytes(data)
    # No broker answers at these settings' address: it is not even asked.
    with pytest.raises(SystemExit) as caught:
        main(["submit", str(file), "-c", SETTINGS, "-r", "embeddings"])
    captured = capsys.readouterr()
    assert caught.value.code == 2
    assert captured.out == ""
    assert str(file) in captured.err
    assert words in captured.err


def lines_of_pipe(data: bytes) -> list[bytes | BadLine]:
    read_end, write_end = os.pipe()
    os.write(write_end, data)
    os.close(write_end)

    async def read() -> list[bytes | BadLine]:
        with os.fdopen(read_end, "rb") as pipe, decompressed(pipe, "-") as source:
            assert not pipe.seekable()
            return [
                line async for line in _read_lines(source, RequestLines(10_000), lambda _: None)
            ]

    return asyncio.run(read())


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd])
def test_of_a_pipe_the_good_lines_are_sent_and_the_others_told(pack: object) -> None:
    assert callable(pack)
    first, bad, last = lines_of_pipe(pack(b'{"a": 1}\nno\n{"b": 2}\n'))
    assert (first, last) == (b'{"a": 1}', b'{"b": 2}')
    assert isinstance(bad, BadLine)
    assert bad.number == 2


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd])
def test_what_is_piped_into_submit_is_sent(
    monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]
) -> None:
    sent: list[bytes | BadLine] = []

    async def publish_lines(
        _kafka: object, _topic: str, lines: AsyncIterator[bytes | BadLine], **_more: object
    ) -> None:
        sent.extend([line async for line in lines])

    read_end, write_end = os.pipe()
    os.write(write_end, pack(b'{"a": 1}\n{"b": 2}\n'))
    os.close(write_end)
    monkeypatch.setattr("headrace.cli.records.submit.publish_lines", publish_lines)
    with os.fdopen(read_end, "rb") as pipe:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(pipe))
        with pytest.raises(SystemExit) as caught:
            main(["submit", "-", "-c", SETTINGS, "-r", "embeddings"])
    assert caught.value.code in (0, None)
    assert sent == [b'{"a": 1}', b'{"b": 2}']


def test_a_pipe_that_breaks_off_is_told() -> None:
    first, broken = lines_of_pipe(b'[{"a": 1},\n{"b":')
    assert first == b'{"a": 1}'
    assert isinstance(broken, BadLine)
    assert (broken.number, "not read" in broken.reason) == (2, True)


def test_stdin_is_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.BufferedReader(io.BytesIO(PLAIN))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stdin))
    with open_file("-") as source:
        assert source is stdin


def test_a_file_that_is_not_there_says_so() -> None:
    with pytest.raises(UserError, match="cannot be read"), open_file("/nonexistent"):
        pass
