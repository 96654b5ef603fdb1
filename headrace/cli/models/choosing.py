"""Which sources the command line means: all of the settings, some models', or named ones."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headrace.errors import UserError
from headrace.kubernetes.weights import hosted_models
from headrace.kubernetes.worker_groups import worker_groups
from headrace.settings.problems import alternatives
from schemas.settings.file import Settings
from schemas.settings.models import ModelSettings, weight_sources
from schemas.settings.sources import WeightSource
from schemas.settings.weights import WeightsSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSource:
    """A source of weights, and who needs it.

    Attributes:
        model: The model; of a source on the command line the source itself.
    """

    model: str
    source: WeightSource

    @property
    def title(self) -> str:
        field = self.source.field
        return self.model if field == "source" else f"{self.model}, {field}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Sources, the settings of where they are kept, and those of the models that were named."""

    sources: list[NamedSource]
    weights: WeightsSettings
    models: Mapping[str, ModelSettings] = field(default_factory=dict)

    @property
    def cache_dir(self) -> Path | None:
        return self.weights.cache

    @property
    def most_bytes(self) -> float:
        return self.weights.max_model_gib * 2**30


def sources_of(
    settings: Settings, models: Iterable[str], *, by_model: bool = False
) -> list[NamedSource]:
    """Return the sources of some models, each once; with ``by_model`` once for each model."""
    found: dict[tuple[str, str, bool, str], NamedSource] = {}
    for model in models:
        for source in weight_sources(settings.models[model]):
            whose = model if by_model else ""
            key = source.source, source.part, source.trusts_code, whose
            found.setdefault(key, NamedSource(model=model, source=source))
    return list(found.values())


def plain_sources(names: Iterable[str]) -> list[NamedSource]:
    return [NamedSource(model=name, source=WeightSource("source", name)) for name in names]


def choose(
    settings: Settings, names: list[str], group: str | None, *, by_model: bool = False
) -> Chosen:
    """Return what the command line names; raises ``UserError`` for a name that is not there."""
    models = [name for name in names if ":" not in name]
    for name in models:
        if name not in settings.models:
            raise UserError(
                f"no model '{name}' in the settings{alternatives(name, settings.models)}"
            )
    if not names:
        models = list(settings.models) if group is None else _of_group(settings, group)
    elif group is not None:
        raise UserError("--worker-group: name models or a worker group, not both")
    named = plain_sources(name for name in names if ":" in name)
    return Chosen(
        sources=[*named, *sources_of(settings, models, by_model=by_model)],
        weights=settings.weights,
        models={name: settings.models[name] for name in models},
    )


def _of_group(settings: Settings, name: str) -> list[str]:
    groups = {group.name: group for group in worker_groups(settings)}
    if name not in groups:
        raise UserError(f"--worker-group: no group '{name}'{alternatives(name, groups)}")
    return hosted_models(settings, groups[name])
