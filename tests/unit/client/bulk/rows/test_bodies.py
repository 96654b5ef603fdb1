from collections.abc import Callable
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_client.bulk.rows.bodies import BodyTemplate
from headrace_client.bulk.rows.errors import InputError
from headrace_client.bulk.rows.rows import MISSING, Rows

AsRows = Callable[..., Rows]
SCHEMA = pa.schema([(name, pa.string()) for name in ("question", "documents", "n")])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


def doubled(value: Any) -> Any:
    """The document with its braces doubled, so that they are braces."""
    if isinstance(value, str):
        return value.replace("{", "{{").replace("}", "}}")
    if isinstance(value, list):
        return [doubled(each) for each in value]
    if isinstance(value, dict):
        return {key: doubled(each) for key, each in value.items()}
    return value


@given(document=_JSON, value=_JSON.filter(lambda each: each is not None and each != ""))
def test_a_document_is_itself_with_values_put_in(document: Any, value: Any) -> None:
    template = BodyTemplate({"d": doubled(document), "v": "{n}"}, SCHEMA)
    rows = Rows(
        first_row=0,
        carried=pa.RecordBatch.from_pydict({"row": [0]}),
        bytes_read=0,
        place=str,
        values=lambda _: [value],
    )

    (payload,) = template.render(rows).payloads

    if isinstance(value, str) and value.isspace():
        assert payload == b""
    else:
        assert orjson.loads(payload) == {"d": document, "v": value}


def test_values_in_text_and_values_as_they_are(as_rows: AsRows) -> None:
    document = {
        "model": "reranker",
        "query": "Q: {question} ({n})",
        "documents": "{documents}",
        "top_n": "{n}",
        "nested": [{"{n}": ["{question}", 1, None]}],
    }
    template = BodyTemplate(document, SCHEMA)
    rows = as_rows({"question": ['Who "is"?'], "documents": [["a", "b"]], "n": [3]})

    rendered = template.render(rows)

    assert template.columns == ("question", "n", "documents")
    assert orjson.loads(rendered.payloads[0]) == {
        "model": "reranker",
        "query": 'Q: Who "is"? (3)',
        "documents": ["a", "b"],
        "top_n": 3,
        "nested": [{"{n}": ['Who "is"?', 1, None]}],
    }


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"question": "q", "n": None}, "null"),
        ({"question": MISSING, "n": 1}, "column_missing"),
        ({"question": " ", "n": ""}, "empty"),
        ({"question": ["a"], "n": 1}, "not_text"),
        ({"question": "q", "n": float("inf")}, "not_text"),
        ({"question": "x" * 101, "n": 1}, "too_large"),
    ],
)
def test_rows_that_fail(row: dict[str, Any], code: str, as_rows: AsRows) -> None:
    template = BodyTemplate({"input": "<{question}>", "n": "{n}"}, SCHEMA, max_text_bytes=100)
    good = {"question": "q", "n": 1}
    columns = {name: [good[name], row[name], good[name]] for name in good}

    rendered = template.render(as_rows(columns))

    assert [bool(each) for each in rendered.payloads] == [True, False, True]
    assert {key: failure.code for key, failure in rendered.failures.items()} == {1: code}


def test_bodies_that_are_no_templates() -> None:
    with pytest.raises(InputError, match="must be a JSON object"):
        BodyTemplate(["{n}"], SCHEMA)
    with pytest.raises(InputError, match=r"names no column.*question, documents, n"):
        BodyTemplate({"input": "the same", "{n}": 1}, SCHEMA)
    with pytest.raises(InputError, match="no column 'text'"):
        BodyTemplate({"input": "{text}"}, SCHEMA)


def test_fingerprint_is_the_document() -> None:
    assert BodyTemplate({"n": "{n}"}, SCHEMA).fingerprint == {"body": '{"n":"{n}"}'}
