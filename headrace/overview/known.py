"""What the settings say of a service, as far as an overview needs it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from schemas.settings.file import Settings
from schemas.settings.models import CustomModelSettings, ModelSettings
from schemas.settings.pipelines import PipelineSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRoute:
    name: str
    model: str
    requests_topic: str
    results_topic: str
    dead_letters_topic: str
    group: str
    delivery: str = "at_least_once"
    start_from: str = "earliest"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model; ``routes`` call it, through pipelines too."""

    name: str
    kind: str
    source: str = ""
    routes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownService:
    routes: list[KnownRoute] = field(default_factory=list)
    models: list[KnownModel] = field(default_factory=list)
    jobs_topic: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        routes = [
            KnownRoute(
                name=name,
                model=route.model,
                requests_topic=route.requests_topic,
                results_topic=route.results_topic,
                dead_letters_topic=route.dead_letters_topic,
                group=route.group,
                delivery=route.delivery,
                start_from=route.start_from,
            )
            for name, route in settings.routes.items()
        ]
        behind: dict[str, list[str]] = {}
        for name, route in settings.routes.items():
            for model in settings.models_behind(route.model):
                behind.setdefault(model, []).append(name)
        models = [
            KnownModel(
                name=name,
                kind=settings.models[name].kind,
                source=_source_of(settings.models[name]),
                routes=callers,
            )
            for name, callers in behind.items()
        ]
        return cls(routes=routes, models=models, jobs_topic=settings.jobs.topic)

    @classmethod
    def of_applications(
        cls, built: Sequence[Mapping[str, Any]], jobs_topic: str | None = None
    ) -> Self:
        """Build from what running applications are built of (``ApplicationSpec.built``)."""
        models = {each["model"]: each for each in built if "model" in each}
        routes = [
            KnownRoute(name=each["route"], **_without_defaults(each["settings"], _ROUTE_KEYS))
            for each in built
            if "route" in each
        ]
        callers: dict[str, list[str]] = {name: [] for name in models}
        for route in routes:
            for model in _behind(route.model, models):
                callers[model].append(route.name)
        return cls(
            routes=routes,
            models=[
                KnownModel(
                    name=name,
                    kind=each["settings"]["kind"],
                    source=_source_in(each["settings"]),
                    routes=callers[name],
                )
                for name, each in models.items()
            ],
            jobs_topic=jobs_topic,
        )


_ROUTE_KEYS = (
    "model",
    "requests_topic",
    "results_topic",
    "dead_letters_topic",
    "group",
    "delivery",
    "start_from",
)


def _behind(name: str, models: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Return a model and all that it calls, of those that run; a pipeline may call pipelines."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        each = waiting.pop()
        if each in models and each not in found:
            found.add(each)
            waiting += models[each].get("calls", ())
    return found


def _without_defaults(settings: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: settings[key] for key in keys if key in settings}


def _source_in(model: Mapping[str, Any]) -> str:
    if "steps" in model:
        return ", ".join(f"{name}: {step['model']}" for name, step in model["steps"].items())
    return str(model.get("source") or model.get("import_path") or "")


def _source_of(model: ModelSettings) -> str:
    if isinstance(model, PipelineSettings):
        return ", ".join(f"{name}: {step.model}" for name, step in model.steps.items())
    return model.import_path if isinstance(model, CustomModelSettings) else model.source
