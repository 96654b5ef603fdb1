"""Lines come out as they went in, however the stream is cut."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.records.lines import BadLine, LineCutter


def cut(parts: list[bytes], max_line_bytes: int = 1000) -> list[bytes | BadLine]:
    cutter = LineCutter(max_line_bytes)
    lines = [line for part in parts for line in cutter.feed(part)]
    return [*lines, *cutter.finish()]


@given(
    st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line), max_size=20),
    st.lists(st.integers(1, 7)),
)
def test_any_cut_of_the_stream_gives_the_same_lines(lines: list[bytes], sizes: list[int]) -> None:
    stream = b"\n".join(lines)
    parts, start = [], 0
    for size in sizes:
        parts.append(stream[start : start + size])
        start += size
    parts.append(stream[start:])

    assert cut(parts) == [line for line in lines if line.strip()]


def test_bytes_are_untouched() -> None:
    assert cut([b' {"a": 1} \r\n\xff\xfe\n\n  \nlast']) == [b' {"a": 1} \r', b"\xff\xfe", b"last"]


def test_a_long_line_is_told_about_and_dropped() -> None:
    assert cut([b"ok\n", b"x" * 6, b"x" * 6, b"x\nok\n"], max_line_bytes=10) == [
        b"ok",
        BadLine(2, "has 13 bytes, over the 10 of a line"),
        b"ok",
    ]


def test_a_long_line_at_the_end_is_told_about() -> None:
    assert cut([b"x" * 30], max_line_bytes=10) == [
        BadLine(1, "has 30 bytes, over the 10 of a line")
    ]


def test_a_line_of_just_the_limit_is_taken() -> None:
    assert cut([b"x" * 10 + b"\n"], max_line_bytes=10) == [b"x" * 10]
