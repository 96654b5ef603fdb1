"""A generator's settings with directories in place of the sources that its arguments name."""

from collections.abc import Mapping
from pathlib import Path

from schemas.settings.models import GeneratorSettings
from schemas.settings.sources import engine_sources, with_local_paths


def with_local_weights(settings: GeneratorSettings, paths: Mapping[str, Path]) -> GeneratorSettings:
    """Return settings whose ``engine_args`` vLLM can follow without a network.

    ``paths`` has the directory of each of the model's sources, by field.
    """
    named = {each.field: str(paths[each.field]) for each in engine_sources(settings.engine_args)}
    engine_args = with_local_paths(settings.engine_args, named)
    if settings.trust_remote_code:
        engine_args["trust_remote_code"] = True
    # Not checked again: what the settings refuse, such as trust_remote_code here, is ours to set.
    return settings.model_copy(update={"engine_args": engine_args})
