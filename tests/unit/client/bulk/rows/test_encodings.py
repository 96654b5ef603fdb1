import codecs
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_client.bulk.rows.source import Source
from headrace_client.bulk.rows.text.encodings import AsUtf8, encoding_of

LINES = ['{"text": "Grüße, 世界 👋"}', '{"text": "Second"}']
TEXTS = ["Grüße, 世界 👋", "Second"]
UTF_16 = {
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
}


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_jsonl(
    encoding: str, line_end: str, tmp_path: Path, read_column: Callable[..., list[Any]]
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes((line_end.join(LINES) + line_end).encode(encoding))
    source = Source.open([str(path)])

    assert read_column(source) == TEXTS
    assert source.schema.names == ["text"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("suffix", [".txt", ".csv", ".tsv"])
def test_byte_order_mark(
    suffix: str, encoding: str, tmp_path: Path, read_column: Callable[..., list[Any]]
) -> None:
    path = tmp_path / f"rows{suffix}"
    lines = TEXTS if suffix == ".txt" else ["text", '"Grüße, 世界 👋"', "Second"]
    path.write_bytes("\r\n".join(lines).encode(encoding))

    assert read_column(Source.open([str(path)])) == TEXTS


@pytest.mark.parametrize("encoding", UTF_16)
def test_what_is_no_utf_16_fails_its_own_line(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    lone_surrogate = "\ud800".encode(encoding, "surrogatepass")
    line_end = "\n".encode(encoding)
    path.write_bytes(
        UTF_16[encoding]
        + line_end.join(["first".encode(encoding), lone_surrogate, "third".encode(encoding)])
        + line_end
        + b"x"
    )
    batches = list(Source.open([str(path)]).select(needed=["text"]).batches())

    texts = [each for rows in batches for each in rows.carried.column("text").to_pylist()]
    codes = [failure.code for rows in batches for failure in rows.failures.values()]
    assert texts == ["first", None, "third", None]
    assert codes == ["invalid_utf8"] * 2


@given(
    text=st.text(st.characters(exclude_categories=["Cs"])),
    encoding=st.sampled_from(["utf-8", "utf-16-le", "utf-16-be"]),
    sizes=st.lists(st.integers(1, 7), min_size=1),
)
def test_any_text_in_any_pieces(text: str, encoding: str, sizes: list[int]) -> None:
    # The beginning is looked at as a whole; what follows comes in pieces.
    text = "x" * 300 + text
    mark = UTF_16.get(encoding, codecs.BOM_UTF8)
    source = io.BytesIO(mark + text.encode(encoding))

    class Pieces:
        def __init__(self) -> None:
            self._calls = 0

        def read(self, size: int, /) -> bytes:
            self._calls += 1
            return source.read(min(size, sizes[self._calls % len(sizes)]))

    stream = AsUtf8(Pieces(), "here")
    pieces = iter(lambda: stream.read(1000), b"")

    assert b"".join(pieces) == text.encode()


def test_utf_8_with_zero_characters_is_no_utf_16() -> None:
    assert encoding_of(b"a\0b\0") == ("utf-16-le", 0)
    assert encoding_of(b"\0a\0b") == ("utf-16-be", 0)
    assert encoding_of(b"words and one \0 zero") == ("utf-8", 0)
    assert encoding_of(b"") == ("utf-8", 0)
