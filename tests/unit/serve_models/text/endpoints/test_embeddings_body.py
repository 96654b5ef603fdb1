from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from schemas.asyncapi import json_schema
from schemas.bodies.base import Accepted, BodyRefusedError
from schemas.bodies.embeddings import EmbeddingsResponse, parse_embeddings_body


def test_a_plain_openai_body_is_taken_with_openais_defaults() -> None:
    body = parse_embeddings_body({"input": "hello", "model": "m", "user": "u", "extra": 1})
    assert body.texts == ["hello"]
    assert (body.encoding_format, body.dimensions, body.output_dtype) == ("float", None, "float")
    assert body.truncation
    assert body.normalize is None


@pytest.mark.parametrize("ids", [[1, 2, 3], [[1, 2], [3]]])
def test_token_ids_are_refused_with_the_switch_of_who_sends_them_unless_they_are_wanted(
    ids: list[Any],
) -> None:
    with pytest.raises(BodyRefusedError, match="check_embedding_ctx_length=False"):
        parse_embeddings_body({"input": ids})

    body = parse_embeddings_body({"input": ids}, Accepted(token_ids=True))
    assert body.token_ids == ([ids] if ids[0] == 1 else ids)
    assert body.inputs == len(body.token_ids)
    assert body.texts == []
    Draft202012Validator(json_schema("embeddings-request")).validate({"input": ids})


@pytest.mark.parametrize(
    ("ids", "position"),
    [([1, True], 0), ([1, "a"], 0), ([1, None], 0), ([[1], []], 1), ([[1], [1.5]], 1)],
)
def test_what_is_no_list_of_token_ids_is_refused_by_position(ids: Any, position: int) -> None:
    with pytest.raises(BodyRefusedError, match=rf"input: \[{position}\] must be a list of token"):
        parse_embeddings_body({"input": ids}, Accepted(token_ids=True))


@pytest.mark.parametrize("text", ["a", ["a", "b"]])
def test_where_token_ids_are_wanted_texts_are_taken_too(text: Any) -> None:
    body = parse_embeddings_body({"input": text}, Accepted(token_ids=True))
    assert body.texts == list(text)
    assert body.token_ids == []


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({}, "input", "required"),
        ({"input": ""}, "input", "empty string"),
        ({"input": []}, "input", "at least one text"),
        ({"input": ["a", ""]}, "input", "[1] must not be an empty string"),
        ({"input": [1, 2, 3]}, "input", "token ids are not accepted"),
        ({"input": [[1, 2], [3]]}, "input", "token ids are not accepted"),
        ({"input": ["a", None]}, "input", "[1] must be a string"),
        ({"input": ["a", True]}, "input", "[1] must be a string"),
        ({"input": None}, "input", "string or a list of strings"),
        ({"input": {"text": "a"}}, "input", "string or a list of strings"),
        ({"input": 1.5}, "input", "string or a list of strings"),
        ({"input": "a", "dimensions": 0}, "dimensions", "greater than or equal to 1"),
        ({"input": "a", "dimensions": "8"}, "dimensions", "valid integer"),
        ({"input": "a", "dimensions": True}, "dimensions", "valid integer"),
        ({"input": "a", "dimensions": 1e400}, "dimensions", "valid integer"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format", "'float' or 'base64'"),
        ({"input": "a", "output_dtype": "int4"}, "output_dtype", "'float'"),
        ({"input": "a", "normalize": "yes"}, "normalize", "valid boolean"),
        ({"input": "a", "truncation": 1}, "truncation", "valid boolean"),
        ({"input": "a", "model": 5}, "model", "valid string"),
    ],
)
def test_a_wrong_body_is_refused_by_field(body: dict[str, Any], param: str, words: str) -> None:
    with pytest.raises(BodyRefusedError) as refused:
        parse_embeddings_body(body)
    assert refused.value.param == param
    assert refused.value.status == 400
    assert words in str(refused.value)
    assert str(refused.value).startswith(f"{param}: ")


def test_the_response_schema_takes_what_openai_sends_and_nothing_else() -> None:
    response = {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 1]}],
        "model": "m",
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }
    assert EmbeddingsResponse.model_validate(response).data[0].truncated is None
    with pytest.raises(ValidationError):
        EmbeddingsResponse.model_validate({**response, "more": 1})
