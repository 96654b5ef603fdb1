import io
import sqlite3
from typing import Any

import orjson
import pytest

from headrace_client.bulk.rows.batch_lines import COLUMNS, BatchLines, are_batch_lines
from headrace_client.bulk.rows.rendering import Rendered
from headrace_client.bulk.rows.seen import CustomIds
from headrace_client.bulk.rows.source import Source

LINE: dict[str, Any] = {
    "custom_id": "a",
    "method": "POST",
    "url": "/v1/embeddings",
    "body": {"input": "Mills need rivers.", "n": [1, 2.5, None]},
}


def rendered(*lines: dict[str, Any], **options: Any) -> Rendered:
    data = b"".join(orjson.dumps(line) + b"\n" for line in lines)
    source = Source.open(["-"], stdin=io.BytesIO(data))
    renderer = BatchLines(**options)
    (rows,) = source.select(needed=renderer.columns, carried=[]).batches()
    assert len(rows) == len(lines)
    return renderer.render(rows)


def test_lines_as_they_are() -> None:
    lines = rendered(LINE, {**LINE, "custom_id": "b", "url": "/v1/chat/completions"})

    assert [orjson.loads(each) for each in lines.payloads] == [LINE["body"]] * 2
    assert lines.custom_ids == ["a", "b"]
    assert lines.urls == ["/v1/embeddings", "/v1/chat/completions"]
    assert not lines.failures


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"custom_id": 7}, "invalid_request_line", "custom_id must be a text of 1 to 512"),
        ({"custom_id": ""}, "invalid_request_line", "custom_id"),
        ({"custom_id": "x" * 513}, "invalid_request_line", "custom_id"),
        ({"url": None}, "invalid_request_line", "url must be"),
        ({"url": "x" * 257}, "invalid_request_line", "url must be"),
        ({"body": "text"}, "invalid_request_line", "body must be an object"),
        ({"body": {"input": "x" * 1000}}, "too_large", "has 1,012 bytes"),
    ],
)
def test_a_line_that_is_none(change: dict[str, Any], code: str, says: str) -> None:
    lines = rendered(LINE, {**LINE, **change}, {**LINE, "custom_id": "c"}, max_text_bytes=900)

    assert lines.failures.keys() == {1}
    assert lines.failures[1].code == code
    assert says in lines.failures[1].message
    assert [bool(each) for each in lines.payloads] == [True, False, True]


def test_a_line_without_its_fields() -> None:
    lines = rendered(LINE, {"custom_id": "b", "url": "/v1/embeddings"})

    assert lines.failures[1].message.startswith("body must be an object")
    assert lines.custom_ids == ["a", "b"]


def test_model_for_bodies_that_name_none() -> None:
    named = {**LINE, "custom_id": "b", "body": {"input": "x", "model": "own"}}

    lines = rendered(LINE, named, model="minilm")

    assert [orjson.loads(each)["model"] for each in lines.payloads] == ["minilm", "own"]
    assert BatchLines(model="minilm").fingerprint == {"lines": "openai-batch", "model": "minilm"}
    assert BatchLines().fingerprint == {"lines": "openai-batch"}


def test_which_inputs_have_lines() -> None:
    data = io.BytesIO(orjson.dumps(LINE))

    assert are_batch_lines(Source.open(["-"], stdin=data).schema)
    assert not are_batch_lines(Source.open(["-"], stdin=io.BytesIO(b'{"url": "x"}')).schema)
    assert BatchLines().columns == COLUMNS


def test_custom_ids_that_occur_twice() -> None:
    database = sqlite3.connect(":memory:", isolation_level=None)
    custom_ids = CustomIds(database)

    assert custom_ids.repeats(["a", "b", "a"], [0, 1, 2]) == {2: 0}
    assert custom_ids.repeats(["c", "b"], [3, 4]) == {4: 1}
    # Read again after a crash.
    assert custom_ids.repeats(["c", "b"], [3, 4]) == {4: 1}
    database.execute("ROLLBACK")
    assert custom_ids.repeats(["a"], [5]) == {}
    database.close()
