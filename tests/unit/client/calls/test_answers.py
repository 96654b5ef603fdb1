"""Responses of several requests are put together in the order of the inputs."""

import base64
import subprocess
import sys
from array import array
from typing import Any

import numpy as np
import pytest

from headrace_client.calls import answers
from headrace_client.calls.answers import Body


def vectors(model: str, *found: list[float], cut: bool = False) -> dict[str, Any]:
    data = [
        {"index": index, "embedding": base64.b64encode(array("f", each).tobytes()).decode()}
        for index, each in enumerate(found)
    ]
    if cut:
        data[-1]["truncated"] = True
    return {"data": data[::-1], "model": model, "usage": {"prompt_tokens": len(found)}}


def test_vectors_are_one_array_in_order() -> None:
    joined = answers.join_embeddings(
        [vectors("m", [1, 2], [3, 4], cut=True), vectors("m", [5, 6])], "float"
    )

    assert joined.vectors.dtype == np.float32
    assert joined.vectors.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert (joined.model, joined.prompt_tokens, joined.truncated) == ("m", 3, (1,))
    assert len(joined) == 3
    assert joined[2].tolist() == [5, 6]


@pytest.mark.parametrize(
    ("output_dtype", "code"), [("int8", "b"), ("binary", "b"), ("ubinary", "B")]
)
def test_vectors_of_bytes(output_dtype: str, code: str) -> None:
    content = base64.b64encode(array(code, [1, 100]).tobytes()).decode()

    stacked = answers.stack_vectors([content, [3, 4]], output_dtype)

    assert stacked.tolist() == [[1, 100], [3, 4]]
    assert stacked.dtype.itemsize == 1


def test_without_numpy_vectors_are_arrays() -> None:
    content = base64.b64encode(array("f", [1.0, 2.0]).tobytes()).decode()
    code = (
        "import sys; sys.modules['numpy'] = None\n"
        "import importlib.util as u; u.find_spec = lambda name: None\n"
        "from headrace_client.calls import answers\n"
        f"print(answers.stack_vectors([{content!r}], 'float'))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )

    assert ran.stdout.strip() == "[array('f', [1.0, 2.0])]"


def test_rerankings_are_merged_by_score() -> None:
    def part(*scores: float) -> dict[str, Any]:
        return {
            "model": "r",
            "usage": {"prompt_tokens": 2},
            "results": [
                {"index": index, "relevance_score": score, "document": {"text": f"d{index}"}}
                for index, score in enumerate(scores)
            ],
        }

    merged = answers.join_rerankings([part(0.1, 0.9), part(0.5)], [0, 2], 2)

    assert [(each.index, each.relevance_score) for each in merged.results] == [(1, 0.9), (2, 0.5)]
    assert merged.results[0].document == "d1"
    assert merged.prompt_tokens == 4


def test_scores_and_labels() -> None:
    scores = answers.join_scores(
        [
            {"data": [{"index": 1, "score": 0.2}, {"index": 0, "score": 1}], "model": "s"},
            {"data": [{"index": 0, "score": 3}], "usage": {"prompt_tokens": 5}},
        ]
    )
    assert (scores.scores, scores.prompt_tokens) == ((1.0, 0.2, 3.0), 5)

    labels = answers.join_labels(
        [
            {"data": [{"index": 0, "label": "a", "probs": [1.0], "probabilities": {"a": 1.0}}]},
            {"data": [{"index": 0, "label": "b", "probs": [0.5]}]},
        ]
    )
    assert [(each.index, each.label) for each in labels.labels] == [(0, "a"), (1, "b")]
    assert labels.labels[1].probabilities == {}


def test_a_body_has_its_fields_as_attributes() -> None:
    body = Body({"choices": [{"message": {"content": "hi"}}], "usage": {"total_tokens": 2}})

    assert body.choices[0].message.content == "hi"
    assert body["usage"]["total_tokens"] == 2
    with pytest.raises(AttributeError, match="the response has no other; it has choices, usage"):
        _ = body.other
