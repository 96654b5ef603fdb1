"""Chooses what a text model runs on. Pure, but for reading a checkpoint's JSON files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from schemas.settings.backends import CPU_BACKENDS, Backend
from serve_models.text.backends.agreement import Agreement
from serve_models.text.models.checkpoint_json import read_json, read_object

_DECODERS = frozenset(
    {"gemma", "gemma2", "gemma3_text", "llama", "ministral", "mistral", "nemotron", "olmo2"}
    | {"phi3", "qwen2", "qwen3", "qwen3_moe", "smollm3"}
)
"""Model types of ``config.json`` that were made to generate. vLLM's pooling runner is made for
their size and shape; small encoders are faster with PyTorch, because vLLM has more to do for each
request."""
_MODULES = {"Transformer", "Pooling", "Normalize", "Dense"}
"""Modules of Sentence Transformers that vLLM runs as the library would."""
_POOLING_MODES = {"cls", "lasttoken", "mean"}


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """What a checkpoint's files say of it.

    Attributes:
        model_type: As in ``config.json``, e.g. ``bert``; empty where it is not stated.
        unknown_to_vllm: What vLLM would leave out or do otherwise; empty if nothing.
    """

    model_type: str = ""
    unknown_to_vllm: str = ""

    @property
    def is_decoder(self) -> bool:
        return self.model_type in _DECODERS


@dataclass(frozen=True, slots=True)
class Choice:
    """What a model runs on, and why."""

    backend: Backend
    reason: str

    @property
    def is_converted(self) -> bool:
        """Whether the checkpoint is converted before it runs."""
        return self.backend in CPU_BACKENDS

    def facts(self, agreement: Agreement | None = None) -> list[str]:
        """Return what was chosen, for people, and how a conversion agrees with its checkpoint."""
        return [str(self), *([] if agreement is None else [str(agreement)])]

    def __str__(self) -> str:
        return f"{self.backend} ({self.reason})"


def choose_backend(
    asked: Literal["auto", Backend],
    device: str,
    facts: CheckpointFacts,
    *,
    has_vllm: bool,
    only_in_torch: str | None = None,
) -> Choice:
    """Return the backend of a model on ``device``, torch's name of it.

    ``has_vllm`` says whether vLLM is installed where the replica runs. ``only_in_torch`` is a
    setting in use that other backends have not.
    """
    if asked != "auto":
        return Choice(asked, "as set")
    why_torch = _why_torch(device, facts, has_vllm=has_vllm, only_in_torch=only_in_torch)
    if why_torch is not None:
        return Choice("torch", why_torch)
    return Choice("vllm", f"{facts.model_type} is a decoder, on {device}")


def _why_torch(
    device: str, facts: CheckpointFacts, *, has_vllm: bool, only_in_torch: str | None
) -> str | None:
    if not device.startswith("cuda"):
        return f"on {device}"
    if not facts.is_decoder:
        return f"{facts.model_type or 'the checkpoint'} is no decoder"
    if only_in_torch is not None:
        return f"{only_in_torch} is set"
    if facts.unknown_to_vllm:
        return f"vLLM would not run {facts.unknown_to_vllm}"
    return None if has_vllm else "vLLM is not installed; with it this decoder runs on vllm"


def read_facts(path: Path, *, is_embedder: bool = False) -> CheckpointFacts:
    """Read what the choice depends on from a checkpoint's directory."""
    modules = read_json(path / "modules.json")
    listed = modules if isinstance(modules, list) else []
    transformer = next((str(each.get("path", "")) for each in listed), "")
    model_type = read_object(path / transformer / "config.json").get("model_type", "")
    unknown = _unknown_to_vllm(path, listed)
    if is_embedder and not any(str(each.get("type", "")).endswith("Pooling") for each in listed):
        # The library takes the mean, and vLLM the last token.
        unknown = unknown or "a checkpoint whose modules.json names no pooling"
    return CheckpointFacts(str(model_type), unknown)


def _unknown_to_vllm(path: Path, modules: list[Any]) -> str:
    for module in modules:
        name = str(module.get("type", "")).rpartition(".")[2]
        if name not in _MODULES:
            return f"its module {name}"
        if name == "Pooling":
            config = read_object(path / str(module.get("path", "")) / "config.json")
            unknown = _unknown_pooling(config)
            if unknown:
                return unknown
    return ""


def _unknown_pooling(config: dict[str, Any]) -> str:
    if config.get("include_prompt", True) is not True:
        return "its pooling without the prompt"
    mode = config.get("pooling_mode")
    if mode is None:
        # Checkpoints that were saved before ``pooling_mode`` was one key.
        keys = [key for key, is_on in config.items() if is_on is True and "_mode_" in key]
        names = [key.removeprefix("pooling_mode_").removesuffix("_tokens") for key in keys]
        mode = ["cls" if name == "cls_token" else name for name in names]
    modes = mode if isinstance(mode, list) else [mode]
    if len(modes) != 1 or modes[0] not in _POOLING_MODES:
        return f"its pooling by {', '.join(map(str, modes)) or 'nothing'}"
    return ""
