"""``/classify`` from request line to response body, over a fake model."""

from typing import Any

import numpy as np
import pytest

from handoff.chunk import STATUS_OK
from schemas.bodies.classify import ClassifyResponse
from serve_models.text.endpoints.probabilities import Activation
from tests.unit.serve_models.fakes import FakeClassifier, request_line
from tests.unit.serve_models.text_engines import answers_of, running


def classify(text: object, **body: object) -> bytes:
    return request_line("/classify", {"input": text, **body})


async def answer_of(model: FakeClassifier, line: bytes) -> Any:
    async with running("classifier", model) as engine:
        ((status, body),) = await answers_of(engine, [line])
    assert status == STATUS_OK
    ClassifyResponse.model_validate(body)
    return body


async def test_labels_and_probabilities_come_in_the_order_of_the_input() -> None:
    body = await answer_of(FakeClassifier(), classify(["mild", "fierce!!!", "x" * 40]))
    mild, fierce, long = body["data"]
    assert (mild["index"], mild["label"], mild["num_classes"]) == (0, "safe", 2)
    assert (fierce["index"], fierce["label"]) == (1, "unsafe")
    likely, unlikely = 1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))
    np.testing.assert_allclose(mild["probs"], [likely, unlikely], rtol=1e-6)
    np.testing.assert_allclose(mild["probabilities"]["unsafe"], unlikely, rtol=1e-6)
    assert sum(fierce["probs"]) == pytest.approx(1)
    assert "truncated" not in mild
    assert long["truncated"] is True
    assert body["usage"] == {"prompt_tokens": 4 + 9 + 32, "total_tokens": 4 + 9 + 32}
    assert body["model"] == "mine"


async def test_classes_that_do_not_exclude_each_other_have_a_probability_each() -> None:
    body = await answer_of(FakeClassifier(Activation.SIGMOID), classify("!!!"))
    np.testing.assert_allclose(
        body["data"][0]["probs"], [1 / (1 + np.exp(2)), 1 / (1 + np.exp(-2))], rtol=1e-6
    )


async def test_without_the_activation_there_are_logits_and_no_probabilities() -> None:
    body = await answer_of(FakeClassifier(), classify("!!!", use_activation=False))
    assert body["data"][0]["probs"] == [-2.0, 2.0]
    assert "probabilities" not in body["data"][0]


async def test_a_regression_gives_its_value() -> None:
    model = FakeClassifier(Activation.IDENTITY, labels=["toxicity"])
    body = await answer_of(model, classify("!!!"))
    assert body["data"][0] == {"index": 0, "label": "toxicity", "probs": [2.0], "num_classes": 1}


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "input"),
        ({"input": []}, 400, "input"),
        ({"input": ["a", ""]}, 400, "input"),
        ({"input": [[1, 2]]}, 400, "input"),
        ({"input": {"text": "a"}}, 400, "input"),
        ({"input": ["a"] * 6}, 400, "input"),
        ({"input": "x" * 40, "truncation": False}, 400, "input"),
        ({"input": "a", "use_activation": "no"}, 400, "use_activation"),
        ({"input": "a", "model": "other"}, 404, "model"),
    ],
)
async def test_a_wrong_body_is_refused_by_field_and_costs_no_other_record(
    body: dict[str, Any], status: int, param: str
) -> None:
    lines = [classify("good"), request_line("/classify", body), classify("good too")]
    async with running("classifier", FakeClassifier(), max_inputs_per_request=5) as engine:
        good, refused, good_too = await answers_of(engine, lines)
    assert refused[0] == status
    assert refused[1]["error"]["param"] == param
    assert refused[1]["error"]["message"].startswith(f"{param}: ")
    assert (good[0], good_too[0]) == (STATUS_OK, STATUS_OK)


async def test_empty_texts_are_classified_where_the_model_takes_them() -> None:
    async with running("classifier", FakeClassifier(), accept_empty_texts=True) as engine:
        many, one = await answers_of(engine, [classify(["a", ""]), classify("")])
    assert [item["label"] for item in many[1]["data"]] == ["safe", "safe"]
    assert one[0] == STATUS_OK


async def test_another_url_is_refused_and_the_right_one_named() -> None:
    async with running("classifier", FakeClassifier()) as engine:
        ((status, body),) = await answers_of(engine, [request_line("/v1/embeddings", {})])
    assert status == 404
    assert "answers /classify only, not /v1/embeddings" in body["error"]["message"]
