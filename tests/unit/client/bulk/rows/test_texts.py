import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_client.bulk.rows.checks import truncated
from headrace_client.bulk.rows.errors import InputError, RowFailure
from headrace_client.bulk.rows.rows import MISSING, InvalidText, Rows
from headrace_client.bulk.rows.text.json_columns import field
from headrace_client.bulk.rows.texts import TextColumn, TextTemplate

AsRows = Callable[..., Rows]
DATE = dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC)


def schema_of(**columns: pa.DataType) -> pa.Schema:
    return pa.schema(list(columns.items()))


TEXT = schema_of(text=pa.string())


@pytest.mark.parametrize(
    ("columns", "chosen"),
    [
        ({"id": pa.int64(), "content": pa.string(), "text": pa.string()}, "text"),
        ({"content": pa.string(), "input": pa.string()}, "input"),
        ({"title": pa.string(), "content": pa.large_string()}, "content"),
        ({"id": pa.int64(), "abstract": pa.string()}, "abstract"),
        ({"id": pa.int64(), "raw": pa.binary()}, "raw"),
    ],
)
def test_default_column(columns: dict[str, pa.DataType], chosen: str) -> None:
    column = TextColumn(schema_of(**columns))

    assert column.columns == (chosen,)
    assert column.fingerprint == {"column": chosen}


def test_no_default_column_lists_the_columns() -> None:
    with pytest.raises(InputError, match=r"Name it by --column.*: there are title, abstract"):
        TextColumn(schema_of(title=pa.string(), abstract=pa.string()))
    with pytest.raises(InputError, match="no column 'no': the input has text"):
        TextColumn(TEXT, "no")


def test_column_without_text() -> None:
    with pytest.raises(InputError, match=r'"id" holds int64, not text|--template "{id}"'):
        TextColumn(schema_of(id=pa.int64()), "id")
    with pytest.raises(InputError, match="not text"):
        TextColumn(pa.schema([field("tags", "json")]), "tags")


@pytest.mark.parametrize(
    ("value", "code", "message"),
    [
        (MISSING, "column_missing", "has no column 'text'"),
        (None, "null", "column 'text' is null"),
        (7, "not_text", "column 'text' is a number (7); use --template \"{text}\" to send it as"),
        (True, "not_text", "column 'text' is a boolean (true); use --template"),
        ([1], "not_text", "column 'text' is a list ([1]), and no text"),
        ({"a": 1}, "not_text", "column 'text' is an object ("),
        (float("nan"), "not_text", "column 'text' is nan, which JSON does not have"),
        (dt.date(2026, 1, 2), "not_text", "column 'text' is a date ("),
        ("", "empty", "column 'text' is empty or blank"),
        (" \n\u3000", "empty", "column 'text' is empty or blank"),
        (InvalidText("byte 1"), "invalid_utf8", "column 'text': byte 1"),
        ("x" * 1001, "too_large", "has 1,001 bytes as JSON, and 1,000 are allowed"),
        ("\x01" * 200, "too_large", "has 1,200 bytes as JSON, and 1,000 are allowed"),
    ],
)
def test_a_value_that_is_no_text(value: Any, code: str, message: str, as_rows: AsRows) -> None:
    rows = as_rows({"text": ["good", value, "good"]}, first_row=10)

    rendered = TextColumn(TEXT, max_text_bytes=1000).render(rows)

    assert rendered.first_row == 10
    assert rendered.payloads == [b'"good"', b"", b'"good"']
    assert list(rendered.failures) == [11]
    failure = rendered.failures[11]
    assert failure.code == code
    assert failure.message.startswith(message)
    assert failure.place == "here, row 11"


def test_rows_that_could_not_be_read_stay_failed(as_rows: AsRows) -> None:
    read = as_rows({"text": [MISSING, "good"]})
    failure = RowFailure("invalid_json", "is not JSON", "here, line 1")
    rows = Rows(
        first_row=0,
        carried=read.carried,
        failures={0: failure},
        bytes_read=0,
        place=read.place,
        values=read.values,
    )

    for renderer in (TextColumn(TEXT), TextTemplate("<{text}>", TEXT)):
        rendered = renderer.render(rows)
        assert rendered.failures == {0: failure}
        assert rendered.payloads[0] == b""
        assert b"good" in rendered.payloads[1]


@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1), limit=st.integers(1, 99))
def test_a_cut_text_is_as_much_of_its_beginning_as_fits(text: str, limit: int) -> None:
    payload = truncated(text, limit)

    kept = orjson.loads(payload)
    assert text.startswith(kept)
    assert len(payload) - 2 <= limit
    if kept != text:
        longer = len(orjson.dumps(text[: len(kept) + 6])) - 2
        assert longer > limit


def test_truncation_is_part_of_what_changes_results(as_rows: AsRows) -> None:
    column = TextColumn(TEXT, max_text_bytes=10, truncate_text=True)

    rendered = column.render(as_rows({"text": ["x" * 11, "short"]}))

    assert rendered.payloads == [b'"xxxxxxxxxx"', b'"short"']
    assert not rendered.failures
    assert column.fingerprint == {"column": "text", "truncate_text_bytes": 10}
    assert TextColumn(TEXT, max_text_bytes=10).fingerprint == {"column": "text"}


def test_template_over_values_of_any_kind(as_rows: AsRows) -> None:
    schema = schema_of(title=pa.string(), n=pa.int64())
    values: list[Any] = [
        7, 0.5, True, DATE, Decimal("1.50"), "text", None, [1],
    ]  # fmt: skip
    rows = as_rows({"title": ["T"] * len(values), "n": values})

    rendered = TextTemplate("{title}: {n}", schema).render(rows)

    assert [orjson.loads(each) for each in rendered.payloads if each] == [
        "T: 7", "T: 0.5", "T: true",
        "T: 2026-01-02T03:04:00+00:00", "T: 1.50", "T: text",
    ]  # fmt: skip
    assert {row: failure.code for row, failure in rendered.failures.items()} == {
        6: "null",
        7: "not_text",
    }


def test_template_of_blank_columns(as_rows: AsRows) -> None:
    rows = as_rows({"title": ["T", "", " "], "body": ["", "B", "\t"]})

    rendered = TextTemplate(
        "{title}: {body}", schema_of(title=pa.string(), body=pa.string())
    ).render(rows)

    assert rendered.payloads == [b'"T: "', b'": B"', b""]
    assert rendered.failures[2].message == "columns title, body are all empty or blank"


def test_template_that_names_no_column() -> None:
    with pytest.raises(InputError, match="the template names no column"):
        TextTemplate("the same {{text}}", TEXT)


def test_template_too_large(as_rows: AsRows) -> None:
    template = TextTemplate("{text}{text}", TEXT, max_text_bytes=10)

    assert template.render(as_rows({"text": ["x" * 5, "x" * 6]})).failures.keys() == {1}
    assert template.fingerprint == {"template": "{text}{text}"}


def test_limit_that_no_text_fits() -> None:
    with pytest.raises(InputError, match="--max-text-bytes is 0"):
        TextColumn(TEXT, max_text_bytes=0)
