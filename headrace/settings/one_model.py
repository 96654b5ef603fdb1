"""The settings of a service with one model, for one job on this machine. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from headrace.errors import UserError
from headrace.settings.file import check_settings
from headrace.settings.first_file import model_name_of
from headrace_client.routes import ENDPOINTS_OF_KIND
from schemas.settings.file import RouteSettings, Settings

ROUTE = "run"
KINDS = tuple(ENDPOINTS_OF_KIND)
_KEY = re.compile(r"[a-z][a-z0-9_]*(\.[A-Za-z0-9_-]+)*")


@dataclass(frozen=True, slots=True)
class Resources:
    """What of the machine a model gets."""

    cpus: int
    gpus: float


def settings_of_source(
    source: str,
    kind: str,
    resources: Resources,
    *,
    served_names: Iterable[str],
    more: Mapping[str, Any],
) -> Settings:
    """Return settings of a model that is named by its source.

    ``more`` are further keys of the model; they go over the others. Raises ``SettingsError``.
    """
    name = model_name_of(source, kind)
    model: dict[str, Any] = {
        "kind": kind,
        "source": source,
        "num_cpus": resources.cpus,
        "num_gpus": resources.gpus,
        "served_names": [each for each in served_names if each != name],
    }
    if kind == "generator" and not resources.gpus:
        # vLLM's own default keeps room for more replies than a CPU computes.
        model["engine_args"] = {"max_num_seqs": 32}
    document = {"models": {name: merged(model, more)}, "routes": {ROUTE: _route(name)}}
    return check_settings(document, {})


def settings_of_model(settings: Settings, name: str) -> Settings:
    """Return settings of one model of a file, and of those behind it, with a new route to it."""
    models = {each: settings.models[each] for each in settings.models_behind(name)}
    models[name] = settings.models[name]
    route = next((each for each in settings.routes.values() if each.model == name), None)
    if route is None:
        route = RouteSettings.model_validate(_route(name))
    return Settings(
        kafka=settings.kafka,
        models=models,
        routes={ROUTE: route},
        weights=settings.weights,
    )


def keys_of(texts: Iterable[str]) -> dict[str, Any]:
    """Read ``KEY=VALUE`` of a command line; a dot in KEY leads into a section, VALUE is YAML."""
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not _KEY.fullmatch(key):
            raise UserError(f"--set: '{text}' is not KEY=VALUE, e.g. dtype=bfloat16")
        try:
            read = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f"--set: the value of {key} is no YAML: {error}") from None
        for part in reversed(key.split(".")):
            read = {part: read}
        found = merged(found, read)
    return found


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        under = result.get(key)
        is_section = isinstance(value, Mapping) and isinstance(under, Mapping)
        result[key] = merged(under, value) if is_section and under is not None else value
    return result


def _route(model: str) -> dict[str, Any]:
    return {
        "model": model,
        "requests_topic": f"{ROUTE}.requests",
        "results_topic": f"{ROUTE}.results",
        "dead_letters_topic": f"{ROUTE}.dead-letters",
        "group": ROUTE,
    }
