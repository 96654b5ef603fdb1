import io
from typing import BinaryIO

from hypothesis import example, given
from hypothesis import strategies as st

from headrace_client.bulk.rows.files.finding import InputFile
from headrace_client.bulk.rows.files.formats import Format
from headrace_client.bulk.rows.text.lines import LONG_LINE, read_blocks, read_sample


def file_of(data: bytes) -> InputFile:
    def opened(_: int) -> BinaryIO:
        return io.BytesIO(data)

    return InputFile(
        path="here",
        format=Format.TEXT,
        compression=None,
        size=len(data),
        modified="",
        says_its_format=True,
        opener=opened,
    )


@given(
    lines=st.lists(st.binary(max_size=30).map(lambda each: each.replace(b"\n", b" "))),
    ends=st.booleans(),
    at_once=st.integers(1, 40),
    limit=st.integers(1, 40),
)
@example(lines=[b"x" * 30, b"y", b"x" * 30], ends=True, at_once=100, limit=10)
def test_lines_are_those_of_the_file_however_it_is_read(
    lines: list[bytes], ends: bool, at_once: int, limit: int
) -> None:
    # The mark keeps any bytes from being taken for UTF-16.
    data = b"\xef\xbb\xbf" + b"\n".join(lines) + (b"\n" if ends and lines else b"")
    expected = lines[:-1] if lines and not ends and lines[-1] == b"" else lines

    blocks = list(read_blocks(file_of(data), max_line_bytes=limit, read_at_once_bytes=at_once))
    read = [line for block in blocks for line in block.lines]

    assert read == [b"" if len(line) > limit else line for line in expected]
    assert [line is LONG_LINE for line in read] == [len(line) > limit for line in expected]
    number = 1
    for block in blocks:
        assert block.first_line == number
        number += len(block.lines)
    if blocks:
        assert blocks[-1].bytes_read == len(data)


def test_sample_has_about_as_many_bytes_as_it_should_and_one_line_at_least() -> None:
    short = file_of(b"x" * 99 + b"\n")
    assert read_sample(short) == [b"x" * 99]
    assert 1000 <= len(read_sample(file_of((b"x" * 99 + b"\n") * 100_000), 100_000)) < 3000
    assert read_sample(file_of(b"x" * 500_000 + b"\ny"), 1000)[0] == b"x" * 500_000
