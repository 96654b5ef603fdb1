"""Settings of backends that do not go together are refused, with what to do."""

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.settings.models import ClassifierSettings, EmbedderSettings, RerankerSettings


def embedder(**settings: Any) -> EmbedderSettings:
    return EmbedderSettings.model_validate(
        {"kind": "embedder", "source": "path:/model", **settings}
    )


def test_by_itself_a_backend_is_chosen_and_nothing_is_quantized() -> None:
    for kind, settings in (
        ("embedder", EmbedderSettings),
        ("classifier", ClassifierSettings),
        ("reranker", RerankerSettings),
    ):
        plain = settings.model_validate({"kind": kind, "source": "path:/model"})
        assert (plain.backend, plain.quantization, plain.engine_args) == ("auto", None, {})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "openvino", "device": "cuda"}, "backend: openvino runs on CPUs"),
        ({"backend": "onnx", "device": "mps"}, "backend: onnx runs on CPUs"),
        ({"quantization": "int8"}, "quantization: backend auto has none"),
        ({"backend": "torch", "quantization": "none"}, "quantization: backend torch has none"),
        ({"engine_args": {"max_num_seqs": 8}}, "engine_args: are vLLM's; set backend to vllm"),
        ({"backend": "onnx", "engine_args": {"seed": 1}}, "engine_args: are vLLM's"),
        (
            {"backend": "vllm", "engine_args": {"max_model_len": 8}},
            "engine_args.max_model_len: is max_seq_length_tokens here",
        ),
        (
            {"backend": "vllm", "engine_args": {"tensor_parallel_size": 2}},
            "engine_args.tensor_parallel_size: is not used for text models",
        ),
        (
            {"backend": "vllm", "engine_args": {"trust_remote_code": True}},
            "engine_args.trust_remote_code: is set by Headrace; use trust_remote_code of the model",
        ),
        *(
            ({"backend": backend, name: value}, f"{name}: is of backend torch, and backend is")
            for backend in ("openvino", "onnx", "vllm")
            for name, value in (("front_processes", 2), ("unpad_inputs", True), ("compile", True))
        ),
        ({"least_agreement": 1.5}, "least_agreement"),
        ({"backend": "tensorrt"}, "backend"),
    ],
)
def test_what_does_not_go_together_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        embedder(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"backend": "openvino"},
        {"backend": "openvino", "device": "cpu", "quantization": "none"},
        {"backend": "onnx", "quantization": "int8", "least_agreement": -1},
        {"backend": "vllm", "engine_args": {"max_num_seqs": 8}},
        {"backend": "vllm", "device": "cuda"},
        {"backend": "vllm", "front_processes": 0, "unpad_inputs": False, "compile": False},
        {"backend": "torch", "front_processes": 2, "compile": True},
        {"backend": "auto", "unpad_inputs": True},
    ],
)
def test_what_goes_together_is_taken(settings: dict[str, Any]) -> None:
    assert embedder(**settings).backend == settings["backend"]
