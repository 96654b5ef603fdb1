"""Bodies of classify, rerank and score against their published schemas."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from schemas.asyncapi import json_schema
from schemas.bodies.base import BodyRefusedError, TextBody, parse_body
from schemas.bodies.classify import ClassifyBody
from schemas.bodies.rerank import RerankBody, ScoreBody

BODIES: dict[str, type[TextBody]] = {
    "classify": ClassifyBody,
    "rerank": RerankBody,
    "score": ScoreBody,
}


@pytest.mark.parametrize(
    ("name", "body", "is_legal"),
    [
        ("classify", {"input": "a"}, True),
        ("classify", {"input": ["a", "b"], "use_activation": None, "user": "u"}, True),
        ("classify", {"text": "a"}, False),
        ("classify", {"input": [1]}, False),
        ("rerank", {"query": "q", "documents": "a"}, True),
        ("rerank", {"query": {"text": "q"}, "documents": ["a", {"text": "b", "id": 1}]}, True),
        ("rerank", {"query": "q", "documents": ["a"], "top_n": 0}, True),
        ("rerank", {"query": "q", "documents": [{"title": "b"}]}, False),
        ("rerank", {"query": "q"}, False),
        ("rerank", {"query": "q", "documents": ["a"], "top_n": "1"}, False),
        ("score", {"queries": "q", "documents": ["a"]}, True),
        ("score", {"text_1": "q", "text_2": ["a"]}, True),
        ("score", {"data_1": ["q"], "data_2": ["a"]}, True),
        ("score", {"queries": "q", "items": ["a"]}, True),
        ("score", {"text_1": 3, "text_2": ["a"]}, False),
        ("score", {"text_1": "q"}, False),
        ("score", {}, False),
    ],
)
def test_the_published_schema_takes_what_the_endpoint_takes(
    name: str, body: dict[str, Any], is_legal: bool
) -> None:
    validator = Draft202012Validator(json_schema(f"{name}-request"))

    assert validator.is_valid(body) is is_legal
    if is_legal:
        parse_body(BODIES[name], body)
    else:
        with pytest.raises(BodyRefusedError):
            parse_body(BODIES[name], body)


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("rerank", {"query": 1, "documents": "a"}, "query: must be a string or an object"),
        ("rerank", {"query": "q", "documents": []}, "documents: must hold at least one text"),
        ("rerank", {"query": "q", "documents": ["a", 7]}, "documents: [1] must be a string or"),
        ("rerank", {"query": "q", "documents": {"text": ""}}, "documents: must not be an empty"),
        ("score", {"queries": [""], "documents": "a"}, "queries: [0] must not be an empty text"),
        ("score", {"text_1": "q", "text_2": 5}, "text_2: must be a string or an object"),
    ],
)
def test_a_refusal_says_which_text_is_wrong(name: str, body: dict[str, Any], message: str) -> None:
    with pytest.raises(BodyRefusedError) as refused:
        parse_body(BODIES[name], body)

    assert str(refused.value).startswith(message)
    assert refused.value.param == message.partition(":")[0]


def test_queries_and_documents_are_texts_whatever_they_came_as() -> None:
    body = parse_body(
        ScoreBody, {"text_1": {"text": "q"}, "data_2": ["a", {"text": "b"}], "text_2": "c"}
    )

    assert body.query_texts == ["q"]
    assert body.document_texts == ["c"]
