"""The models section of the settings file: one class for each kind of model."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, JsonValue, model_validator

from schemas.settings.backends import BackendSettings
from schemas.settings.option_secrets import check_no_secrets, check_no_token
from schemas.settings.pipelines import PipelineSettings
from schemas.settings.replicas import ReplicaSettings
from schemas.settings.sources import Source, WeightSource, engine_sources, is_pinned

TrustsCode = Annotated[
    bool,
    Field(
        description="Whether Python code of the checkpoint is fetched and run. Only with a source "
        "that is pinned: hub:ORG/NAME@COMMIT, oci:…@sha256:DIGEST, a wheel or a path.",
    ),
]

Similarity = Literal["cosine", "dot", "euclidean", "manhattan"]
"""Sentence Transformers' names."""


class TextModelSettings(BackendSettings):
    """A model that runs over batches of texts, cut by length from a pool of waiting ones."""

    # The pool orders by length itself.
    work_field: ClassVar = None

    source: Source
    served_names: tuple[str, ...] = Field(
        default=(), description="Other names that body.model may carry."
    )
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="auto: bfloat16 where the device computes quickly in it, else float32.",
    )
    threads: int | None = Field(
        default=None, ge=1, description="CPU threads in all; num_cpus where unset."
    )
    parallel_batches: int | None = Field(
        default=None,
        ge=1,
        description="Batches that run at a time and share the threads. Unset: on a CPU one for "
        "each thread, up to 8; on an NVIDIA GPU 2, one queued behind the other; elsewhere 1.",
    )
    token_budget_tokens: int | None = Field(
        default=None,
        ge=16,
        description="The most tokens in one batch: rows times the longest text. Unset: "
        "learned from what batches take, 1024 to 8192 on a CPU, 16384 to 65536 elsewhere.",
    )
    max_batch_texts: int | None = Field(
        default=None,
        ge=1,
        description="The most rows in one batch. Unset: 256 on a CPU, 4096 elsewhere.",
    )
    max_wait_ms: float = Field(
        default=500.0,
        gt=0,
        description="A text that has waited this long goes into the next batch.",
    )
    pool_texts: int = Field(
        default=2048,
        ge=1,
        description="Texts that wait in a replica, to cut even batches from.",
    )
    outcome_linger_ms: float = Field(
        default=10.0, ge=0, description="How long outcomes gather before they are streamed back."
    )
    max_seq_length_tokens: int | None = Field(
        default=None, ge=1, description="The model's own where unset."
    )
    max_inputs_per_request: int = Field(default=2048, ge=1)
    accept_empty_texts: bool = Field(
        default=False,
        description="Whether a text to embed or classify, or a document, may be empty. A rerank "
        "puts an empty document last.",
    )
    trust_remote_code: TrustsCode = False

    @model_validator(mode="after")
    def _trusts_only_what_is_pinned(self) -> Self:
        check_trust(self.source, trusts_code=self.trust_remote_code)
        return self

    @property
    def only_in_torch(self) -> str | None:
        """The name of a setting in use that no backend but ``torch`` has; ``None`` without."""
        return None

    @property
    def asks_for_gpu(self) -> bool:
        """Whether ``device`` names a GPU; with ``num_gpus`` 0 it is one that Ray does not count."""
        return self.device.startswith("cuda")


class EmbedderSettings(TextModelSettings):
    """A sentence-transformers model that answers /v1/embeddings, and by them rerank and score."""

    endpoints: ClassVar = frozenset({"/v1/embeddings", "/v1/rerank", "/v1/score"})

    kind: Literal["embedder"]
    normalize: bool = True
    prompts: dict[str, str] = Field(
        default_factory=dict,
        description="Prompts by name, e.g. query and document; adds to the model's own.",
    )
    default_prompt_name: str | None = None
    similarity: Similarity | None = Field(
        default=None,
        description="How rerank and score compare vectors. Unset: as the checkpoint says, or "
        "cosine.",
    )
    front_processes: int | None = Field(
        default=None,
        ge=0,
        description="Processes that check requests, tokenize and write answers "
        "beside the model's; 0: threads of the replica's own. Unset: 0 on a CPU; on a GPU the CPUs "
        "of the machine for each of its GPUs, less 3, up to 8. Of backend torch.",
    )
    unpad_inputs: bool | None = Field(
        default=None,
        description="Whether a batch's texts lie one behind the other, without padding. Unset: "
        "with flash attention, on an NVIDIA GPU from Ampere on, in 16 bits, where the vectors stay "
        "the same; padded elsewhere.",
    )
    compile: bool = Field(
        default=False,
        description="Compile the model (torch.compile) and fill batches up to a few shapes, so "
        "that a GPU replays their kernels as one graph. The first batch of each shape takes "
        "seconds.",
    )
    accept_token_ids: bool = Field(
        default=False,
        description="Whether input may be token ids of the checkpoint's own tokenizer. OpenAI's "
        "clients may send ids of OpenAI's tokenizer, which would mean other words.",
    )
    max_image_bytes: int = Field(
        default=10 * 1024 * 1024,
        ge=1,
        description="The most bytes of one image, for a checkpoint that reads images.",
    )
    max_image_pixels: int = Field(
        default=16 * 1024 * 1024,
        ge=1,
        description="The most pixels of one image, checked before it is decoded.",
    )

    @model_validator(mode="after")
    def _one_layout(self) -> Self:
        if self.unpad_inputs and self.compile:
            raise ValueError(
                "unpad_inputs: true does not go with compile: batches without padding have a shape "
                "each; set one of them"
            )
        return self

    @model_validator(mode="after")
    def _what_the_backend_has(self) -> Self:
        name = self.only_in_torch
        if name is not None and self.backend not in {"auto", "torch"}:
            raise ValueError(
                f"{name}: is of backend torch, and backend is {self.backend}; leave {name} out, or "
                "set backend to torch"
            )
        return self

    @property
    def only_in_torch(self) -> str | None:
        names = ("front_processes", "unpad_inputs", "compile")
        return next((name for name in names if getattr(self, name)), None)


class ClassifierSettings(TextModelSettings):
    """A sequence-classification checkpoint that answers /classify."""

    endpoints: ClassVar = frozenset({"/classify"})

    kind: Literal["classifier"]


class RerankerSettings(TextModelSettings):
    """A cross-encoder: a sequence-classification checkpoint with one label over pairs of texts."""

    endpoints: ClassVar = frozenset({"/v1/rerank", "/v1/score"})

    kind: Literal["reranker"]


_IN_PLACE_OF_ARGUMENT = {
    "model": "is set by Headrace; use source instead",
    "served_model_name": "is set by Headrace; use served_names instead",
    "enable_lora": "is set by Headrace; use adapters instead",
    "trust_remote_code": "is set by Headrace; use trust_remote_code of the model instead, beside a "
    "source that is pinned",
    "data_parallel_size": "Ray places replicas, and Headrace counts what is in flight in each; set "
    "replicas to it instead, and each copy is a replica of its own",
}
"""Engine arguments that are refused, and what to do instead."""
_ASKS_FOR_NOTHING: dict[str, JsonValue] = {"data_parallel_size": 1, "trust_remote_code": False}
"""Values of such arguments that are let through."""


class GeneratorSettings(ReplicaSettings):
    """A vLLM engine that answers /v1/completions and /v1/chat/completions."""

    endpoints: ClassVar = frozenset({"/v1/completions", "/v1/chat/completions"})
    work_field: ClassVar = None

    kind: Literal["generator"]
    source: Source
    served_names: tuple[str, ...] = Field(
        default=(), description="Other names that body.model may carry."
    )
    engine_args: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Any of vLLM's AsyncEngineArgs, e.g. max_num_seqs, max_model_len, "
        "tensor_parallel_size; model and served_model_name are Headrace's. A draft model "
        "(speculative_config.model) and a tokenizer are sources, too.",
    )
    trust_remote_code: TrustsCode = False
    adapters: dict[str, Source] = Field(
        default_factory=dict,
        description="LoRA adapters: the name that body.model carries, and where the weights are.",
    )
    max_image_pixels: int = Field(
        default=33_554_432,
        ge=1,
        description="The most pixels of the pictures of one request, decoded: a small file may "
        "become a large picture.",
    )
    chat_template: Path | None = Field(
        default=None, description="A file with a Jinja chat template; the checkpoint's where unset."
    )
    placement_strategy: Literal["PACK", "STRICT_PACK", "SPREAD", "STRICT_SPREAD"] | None = Field(
        default=None,
        description="How Ray places the bundles of a replica that takes several GPUs. Unset: "
        "STRICT_PACK, on one node; with pipeline_parallel_size above 1 PACK.",
    )
    cpu_kv_cache_gib: float = Field(
        default=1.0, gt=0, description="Memory for the KV cache where vLLM runs on a CPU."
    )
    threads: int | None = Field(
        default=None, ge=1, description="CPU threads on vLLM's CPU build; num_cpus where unset."
    )
    in_flight_ratio: float = Field(
        default=1.25,
        ge=1,
        le=16,
        description="Records in flight in a replica, as a multiple of its max_num_seqs. What "
        "exceeds 1 waits in the engine, so that a free slot is filled at once.",
    )
    outcome_linger_ms: float = Field(
        default=10.0, ge=0, description="How long outcomes gather before they are streamed back."
    )

    @model_validator(mode="after")
    def _our_own_arguments(self) -> Self:
        for name in sorted(set(self.engine_args) & set(_IN_PLACE_OF_ARGUMENT)):
            if self.engine_args[name] != _ASKS_FOR_NOTHING.get(name, ...):
                raise ValueError(f"engine_args.{name}: {_IN_PLACE_OF_ARGUMENT[name]}")
        check_no_token(self.engine_args)
        for source in (self.source, *(each.source for each in engine_sources(self.engine_args))):
            check_trust(source, trusts_code=self.trust_remote_code)
        for name in ("tensor_parallel_size", "pipeline_parallel_size"):
            size = self.engine_args.get(name, 1)
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise ValueError(f"engine_args.{name}: must be a whole number from 1")
        if self.workers > 1 and self.num_gpus not in {0, 1, self.workers}:
            raise ValueError(
                f"num_gpus: {self.num_gpus:g} does not go with {self.workers} workers "
                "(engine_args.tensor_parallel_size x pipeline_parallel_size), which take a whole "
                f"GPU each: set it to 1 (for each worker) or {self.workers} (in all)"
            )
        if self.workers > 1 and self.num_gpus and self.placement.max_replicas_per_node:
            raise ValueError(
                "placement.max_replicas_per_node: does not go with a replica of several GPUs; "
                "Ray places it as a group"
            )
        return self

    @property
    def workers(self) -> int:
        """GPUs or processes that share one replica's model."""
        sizes = [
            self.engine_args.get(name, 1)
            for name in ("tensor_parallel_size", "pipeline_parallel_size")
        ]
        return int(sizes[0]) * int(sizes[1])  # type: ignore[arg-type] # checked at construction


class CustomModelSettings(ReplicaSettings):
    """Any class with the method of ``handoff.chunk.ChunkModel``."""

    kind: Literal["custom"]
    import_path: str = Field(pattern=r"^[\w.]+:\w+$", description="MODULE:CLASS.")
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Keyword arguments of the class. A text ${NAME} is taken from the replica's "
        "environment: secrets are given so, as Ray stores what stands here.",
    )
    urls: tuple[str, ...] = Field(min_length=1, description="The endpoints that it answers.")
    work_field: str | None = Field(
        default=None,
        description="A numeric body field that says how much work a request is, e.g. max_tokens: "
        "the longest of the waiting requests go first.",
    )

    @model_validator(mode="after")
    def _no_secrets(self) -> Self:
        check_no_secrets(self.options)
        return self

    @property
    def endpoints(self) -> frozenset[str]:
        return frozenset(self.urls)


ModelSettings = Annotated[
    EmbedderSettings
    | ClassifierSettings
    | RerankerSettings
    | GeneratorSettings
    | PipelineSettings
    | CustomModelSettings,
    Field(discriminator="kind"),
]


def check_trust(source: str, *, trusts_code: bool) -> None:
    """Raise ``ValueError`` if code would be run that can change behind the settings' back."""
    if trusts_code and not is_pinned(source):
        raise ValueError(
            f"trust_remote_code: '{source}' may mean other code tomorrow; pin it as "
            "hub:ORG/NAME@COMMIT (40 hex digits) or oci:…@sha256:DIGEST, or copy it to a path"
        )


def weight_sources(settings: ModelSettings) -> tuple[WeightSource, ...]:
    """Return the sources that a model's replicas load from, the model's own first."""
    match settings:
        case GeneratorSettings():
            trusts = settings.trust_remote_code
            own = WeightSource("source", settings.source, trusts_code=trusts)
            adapters = [
                WeightSource(f"adapters.{name}", source)
                for name, source in settings.adapters.items()
            ]
            named = [
                each._replace(trusts_code=trusts) for each in engine_sources(settings.engine_args)
            ]
            return (own, *adapters, *named)
        case TextModelSettings():
            return (text_weights(settings),)
        case _:
            return ()


def text_weights(settings: TextModelSettings) -> WeightSource:
    return WeightSource("source", settings.source, trusts_code=settings.trust_remote_code)


def missing_template(settings: ModelSettings) -> Path | None:
    """Return the file of a generator's chat template if this machine does not have it."""
    template = settings.chat_template if isinstance(settings, GeneratorSettings) else None
    return None if template is None or template.is_file() else template
