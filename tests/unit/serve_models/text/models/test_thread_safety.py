"""Which models may run side by side."""

from typing import Any

import pytest
from transformers import LlamaConfig, LlamaForSequenceClassification

from serve_models.text.models.thread_safety import runs_in_parallel


def model_with(**rope: object) -> LlamaForSequenceClassification:
    rope_parameters = {"rope_theta": 10_000.0, **rope}
    return LlamaForSequenceClassification(  # type: ignore[no-untyped-call] # Transformers' own
        LlamaConfig(
            vocab_size=8,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=16,
            rope_parameters=rope_parameters,
        )
    )


@pytest.mark.parametrize(
    ("rope", "expected"),
    [
        ({"rope_type": "default"}, True),
        ({"rope_type": "linear", "factor": 2.0}, True),
        ({"rope_type": "dynamic", "factor": 2.0}, False),
        (
            {
                "rope_type": "longrope",
                "factor": 2.0,
                "short_factor": [1.0, 1.0],
                "long_factor": [2.0, 2.0],
                "original_max_position_embeddings": 8,
            },
            False,
        ),
    ],
)
def test_frequencies_that_each_forward_rewrites_forbid_it(
    rope: dict[str, Any], expected: bool
) -> None:
    assert runs_in_parallel(model_with(**rope)) is expected


def test_one_kind_of_layer_is_enough() -> None:
    model = model_with(rope_type="default")
    model.model.rotary_emb.rope_type = {"full_attention": "dynamic", "sliding_attention": "default"}
    assert not runs_in_parallel(model)
