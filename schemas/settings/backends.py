"""What a text model runs on: PyTorch, OpenVINO, ONNX Runtime or vLLM."""

from typing import Literal, Self

from pydantic import Field, JsonValue, model_validator

from schemas.settings.replicas import ReplicaSettings

Backend = Literal["torch", "openvino", "onnx", "vllm"]
Quantization = Literal["none", "int8"]

CPU_BACKENDS = frozenset({"openvino", "onnx"})
"""Backends that run converted models, on CPUs only."""


class BackendSettings(ReplicaSettings):
    """The settings of text models' backends."""

    backend: Literal["auto", Backend] = Field(
        default="auto",
        description="What runs the model. auto: vllm for a decoder on a CUDA device where vLLM is "
        "installed and can run the checkpoint, else torch. openvino and onnx run it on CPUs, "
        "quantized, and have vectors that differ a little.",
    )
    quantization: Quantization | None = Field(
        default=None,
        description="Of the backends openvino and onnx: int8 (where unset) or none.",
    )
    least_agreement: float = Field(
        default=0.99,
        ge=-1,
        le=1,
        description="Of the backends openvino and onnx: the least mean cosine of the vectors to "
        "those of the checkpoint in float32, over sample texts; for classifiers and rerankers the "
        "least mean correlation of the scores. Below it the replica does not start.",
    )
    engine_args: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Of the backend vllm: any of vLLM's AsyncEngineArgs, e.g. max_num_seqs or "
        "pooler_config.",
    )

    @model_validator(mode="after")
    def _settings_of_the_backend(self) -> Self:
        device = getattr(self, "device", "auto")
        if self.backend in CPU_BACKENDS and device not in {"auto", "cpu"}:
            raise ValueError(
                f"backend: {self.backend} runs on CPUs, and device is {device}; set device to cpu, "
                "or backend to torch"
            )
        if self.quantization is not None and self.backend not in CPU_BACKENDS:
            raise ValueError(
                f"quantization: backend {self.backend} has none; set backend to openvino or onnx, "
                "or leave quantization out"
            )
        if self.engine_args and self.backend != "vllm":
            raise ValueError(
                "engine_args: are vLLM's; set backend to vllm, or leave engine_args out"
            )
        refused = sorted(set(self.engine_args) & set(_NOT_FOR_POOLING))
        if refused:
            raise ValueError(f"engine_args.{refused[0]}: {_NOT_FOR_POOLING[refused[0]]}")
        return self


_NOT_FOR_POOLING = {
    "model": "is set by Headrace; use source instead",
    "served_model_name": "is set by Headrace; use served_names instead",
    "trust_remote_code": "is set by Headrace; use trust_remote_code of the model instead, beside a "
    "source that is pinned",
    "runner": "is set by Headrace: text models run on vLLM's pooling runner",
    "tokenizer": "is the checkpoint's; put the tokenizer's files beside the weights of source",
    "max_model_len": "is max_seq_length_tokens here",
    "data_parallel_size": "is not used: Ray places replicas; set replicas instead",
    "tensor_parallel_size": "is not used for text models: each replica has one GPU",
    "pipeline_parallel_size": "is not used for text models: each replica has one GPU",
}
"""Engine arguments that are refused, and what to do instead."""
