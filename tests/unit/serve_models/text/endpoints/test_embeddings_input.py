"""What ``/v1/embeddings`` takes besides plain texts, from request line to response body."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from handoff.chunk import STATUS_OK
from serve_models.text.models.prompts import Prompts
from serve_models.text.models.tokenizing import TokenizedText
from tests.unit.serve_models.fakes import FakeModel, line
from tests.unit.serve_models.text_engines import answers_of, running

HELLO = [ord(letter) for letter in "hello"]


async def answers(*lines: bytes, model: FakeModel | None = None, **changes: object) -> Any:
    async with running("embedder", model or FakeModel(), **changes) as engine:
        return await answers_of(engine, lines)


async def test_token_ids_count_as_the_texts_that_they_are() -> None:
    text, ids, lists, long = await answers(
        line("hello"),
        line(HELLO),
        line([HELLO, HELLO[:2]]),
        line([HELLO * 7]),
        accept_token_ids=True,
    )
    assert ids == text
    assert [item["index"] for item in lists[1]["data"]] == [0, 1]
    assert lists[1]["usage"]["total_tokens"] == 5 + 2
    assert long[1]["data"][0]["truncated"] is True


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"text": [1, 128]}, "input", "[0] has token ids that are not of this model's vocabulary"),
        ({"text": [[1], [-1]]}, "input", "[1] has token ids that are not of this model's"),
        ({"text": [[1]] * 4}, "input", "4 texts are over this model's limit of 3"),
        ({"text": [HELLO * 7], "truncation": False}, "input", "text 0 is over the model's 32"),
        ({"text": [1], "prompt_name": "query"}, "prompt_name", "cannot be put before token ids"),
        ({"text": [1], "input_type": "query"}, "input_type", "cannot be put before token ids"),
    ],
)
async def test_token_ids_that_cannot_be_read_are_refused(
    body: dict[str, Any], param: str, words: str
) -> None:
    good, refused = await answers(
        line("good"), line(**body), accept_token_ids=True, max_inputs_per_request=3
    )
    assert good[0] == STATUS_OK
    assert refused[0] == 400
    assert refused[1]["error"]["param"] == param
    assert words in refused[1]["error"]["message"]


async def test_what_a_text_is_for_chooses_the_prompt_that_the_model_has_for_that() -> None:
    model = FakeModel()
    model.prompts = Prompts({}, {"query": "q: ", "passage": "p: ", "own": "o: "})
    purposes = ("search_query", "search_document", "document", "classification", "clustering")
    answered = await answers(
        *(line("text", input_type=purpose) for purpose in purposes),
        line("text", input_type="own"),
        line("text", input_type="passage", prompt_name="own"),
        line("text", input_type=None),
        model=model,
    )
    sent = await answers(
        *(line(f"{prompt}text") for prompt in ("q: ", "p: ", "p: ", "", "", "o: ", "o: ", "")),
        model=model,
    )
    assert answered == sent


async def test_empty_texts_are_embedded_where_the_model_takes_them() -> None:
    model = FakeModel()
    many, one = await answers(line(["a", "", "b"]), line(""), model=model, accept_empty_texts=True)
    assert many[0] == one[0] == STATUS_OK
    assert many[1]["data"][1]["embedding"] == one[1]["data"][0]["embedding"]


async def test_a_text_without_any_token_is_refused_and_costs_no_other_record() -> None:
    class Tokenless(FakeModel):
        def tokenize(
            self, texts: Sequence[str], prompt_names: Sequence[str | None]
        ) -> list[TokenizedText]:
            tokenized = super().tokenize(texts, prompt_names)
            return [
                replace(each, tokens=len(text)) for each, text in zip(tokenized, texts, strict=True)
            ]

    good, refused = await answers(
        line("a"), line(["a", ""]), model=Tokenless(), accept_empty_texts=True
    )
    assert good[0] == STATUS_OK
    assert (refused[0], refused[1]["error"]["param"]) == (400, "input")
    assert "has no tokens for this model" in refused[1]["error"]["message"]


@pytest.mark.parametrize("field", ["input_type", "prompt_name"])
async def test_a_purpose_that_nobody_knows_is_refused(field: str) -> None:
    ((status, body),) = await answers(line("text", **{field: "summarisation"}))
    assert status == 400
    assert body["error"]["param"] == field
    assert "no prompt 'summarisation'; the model has: query" in body["error"]["message"]
