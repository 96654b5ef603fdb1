"""What a file of request lines needs of a model."""

from typing import Any

import orjson
import pytest

from headrace.errors import UserError
from headrace.records.lines import BadLine
from headrace.records.needed_model import MOST_NAMES, needed_model


def line(url: Any, **body: Any) -> bytes:
    return orjson.dumps({"custom_id": "c", "url": url, "body": body})


@pytest.mark.parametrize(
    ("urls", "kind"),
    [
        (["/v1/embeddings", "https://host/v1/embeddings"], "embedder"),
        (["/classify"], "classifier"),
        (["/v1/rerank", "/v2/rerank", "/score"], "reranker"),
        (["/v1/chat/completions", "/v1/completions/"], "generator"),
    ],
)
def test_the_kind_is_that_of_the_urls(urls: list[str], kind: str) -> None:
    assert needed_model([line(url) for url in urls], "in.jsonl").kind == kind


def test_names_of_models_are_collected_and_bounded() -> None:
    named = [line("/classify", model=f"m{number % 100}") for number in range(300)]
    found = needed_model([line("/classify"), line("/classify", model=7), *named], "in.jsonl")

    assert found.names == tuple(f"m{number}" for number in range(MOST_NAMES))


def test_lines_that_are_no_requests_are_passed_over() -> None:
    lines: list[bytes | BadLine] = [
        BadLine(1, "is no JSON"),
        b'{"body": []}',
        line(7),
        line("/classify"),
    ]

    assert needed_model(lines, "in.jsonl").kind == "classifier"


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([], "in.jsonl: no line with a url among the first; say --kind"),
        ([line("/classify"), line("/v1/nothing")], "line 2 has the url /v1/nothing"),
        (
            [line("/classify"), line("/v1/embeddings"), line("/classify")],
            "need several models: line 1 (/classify), line 2 (/v1/embeddings)",
        ),
    ],
)
def test_what_fits_no_kind_names_the_line(lines: list[bytes], problem: str) -> None:
    with pytest.raises(UserError) as caught:
        needed_model(lines, "in.jsonl")

    assert problem in str(caught.value)
