"""Null for an optional field of a text body is the field left out, whichever field it is."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from schemas.asyncapi import json_schema
from schemas.bodies.base import BodyRefusedError, TextBody, parse_body
from schemas.bodies.classify import ClassifyBody
from schemas.bodies.embeddings import EmbeddingsBody
from schemas.bodies.rerank import RerankBody, ScoreBody

BODIES: dict[str, tuple[type[TextBody], dict[str, Any]]] = {
    "embeddings": (EmbeddingsBody, {"input": "a"}),
    "classify": (ClassifyBody, {"input": ["a"]}),
    "rerank": (RerankBody, {"query": "q", "documents": ["a"]}),
    "score": (ScoreBody, {"queries": "q", "documents": ["a"]}),
}
PUBLISHED_NAMES = [
    (name, field) for name in BODIES for field in json_schema(f"{name}-request")["properties"]
]


@pytest.mark.parametrize(
    ("name", "field"), [each for each in PUBLISHED_NAMES if each[1] not in BODIES[each[0]][1]]
)
def test_null_is_the_field_left_out(name: str, field: str) -> None:
    model, least = BODIES[name]

    assert parse_body(model, {**least, field: None}) == parse_body(model, least)
    Draft202012Validator(json_schema(f"{name}-request")).validate({**least, field: None})


@pytest.mark.parametrize(
    ("name", "field"), [each for each in PUBLISHED_NAMES if each[1] in BODIES[each[0]][1]]
)
def test_null_for_a_required_field_is_refused_by_name(name: str, field: str) -> None:
    model, least = BODIES[name]

    with pytest.raises(BodyRefusedError, match=f"^{field}: must be a string or") as refused:
        parse_body(model, {**least, field: None})
    assert refused.value.param == field
    assert not Draft202012Validator(json_schema(f"{name}-request")).is_valid({**least, field: None})


def test_fields_of_other_names_may_be_null_too() -> None:
    body = {"input": "a", "user": None, "extra_body": None}
    assert parse_body(EmbeddingsBody, body) == parse_body(EmbeddingsBody, {"input": "a"})


def test_of_a_fields_names_the_one_that_has_a_value_counts() -> None:
    body = {"queries": None, "text_1": "q", "documents": None, "items": ["a"], "data_2": None}

    parsed = parse_body(ScoreBody, body)

    assert (parsed.query_texts, parsed.document_texts) == (["q"], ["a"])
    Draft202012Validator(json_schema("score-request")).validate(body)


@pytest.mark.parametrize("least", [1, 3.0])
def test_a_whole_number_may_have_a_decimal_point(least: float) -> None:
    assert parse_body(RerankBody, {**BODIES["rerank"][1], "top_n": least}).top_n == int(least)
    parsed = parse_body(EmbeddingsBody, {"input": "a", "dimensions": least})
    assert (parsed.dimensions, type(parsed.dimensions)) == (int(least), int)
    Draft202012Validator(json_schema("rerank-request")).validate(
        {**BODIES["rerank"][1], "top_n": least}
    )


@pytest.mark.parametrize("dimensions", [64.5, "64", True, 0.0, -1.0])
def test_what_is_no_whole_number_is_refused(dimensions: Any) -> None:
    with pytest.raises(BodyRefusedError, match=r"^dimensions: "):
        parse_body(EmbeddingsBody, {"input": "a", "dimensions": dimensions})
