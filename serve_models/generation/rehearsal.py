"""Tries generators' settings on vLLM's own parser and configuration, without an engine.

``python -m serve_models.generation.rehearsal RESULT`` reads a JSON object from standard input, by
generator: its ``settings``, the directory of its ``model`` or null where it is not here, those of
its ``adapters``, and those of the sources ``named`` in engine arguments. It writes ``Rehearsed`` of
each to the file RESULT. A process of its own, because vLLM takes ten seconds and a gigabyte to
import, and reads its environment then.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from schemas.settings.models import GeneratorSettings
from schemas.settings.sources import engine_sources
from serve_models.generation.engine_process import set_engine_environment
from serve_models.generation.local_weights import with_local_weights


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What became of one generator's settings.

    Attributes:
        problem: What the engine would refuse, with the setting; empty if nothing.
        unseen: What could not be tried here; empty if nothing.
        facts: What vLLM chose.
    """

    problem: str = ""
    unseen: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def rehearse(
    name: str, settings: GeneratorSettings, model: Path | None, adapters: Mapping[str, Path]
) -> Rehearsed:
    """Let vLLM read the arguments, as the replica does before it starts an engine."""
    set_engine_environment(settings)
    from vllm.platforms import current_platform  # noqa: PLC0415 -- reads the environment

    from serve_models.generation.arguments import (  # noqa: PLC0415 -- the same
        USAGE_CONTEXT,
        GeneratorSettingsError,
        arguments_of,
        check_platform,
        read_chat_template,
        with_setting_names,
    )

    is_cpu, is_gpu = current_platform.is_cpu(), current_platform.is_cuda_alike()
    try:
        arguments = arguments_of(settings)
        read_chat_template(settings.chat_template)
        check_platform(settings, is_cpu=is_cpu, is_gpu=is_gpu)
        if model is None:
            return Rehearsed(unseen="the weights are not here, so only names were checked")
        if not (is_cpu or is_gpu):
            return Rehearsed(unseen="vLLM finds no device here, so only names were checked")
        engine_args = arguments.engine_args((name, *settings.served_names), model, adapters)
        config = engine_args.create_engine_config(USAGE_CONTEXT)
    except GeneratorSettingsError as error:
        return Rehearsed(problem=str(error))
    except (TypeError, ValueError) as error:
        why = with_setting_names(str(error))
        return Rehearsed(problem=f"engine_args: vLLM refuses them: {why}")
    except Exception as error:  # noqa: BLE001 -- of vLLM's many; the replica's own start will tell
        return Rehearsed(unseen=f"vLLM could not try them here: {type(error).__name__}: {error}")
    scheduler = config.scheduler_config
    return Rehearsed(
        facts={
            "dtype": str(config.model_config.dtype).removeprefix("torch."),
            "max_model_len": config.model_config.max_model_len,
            "max_num_seqs": scheduler.max_num_seqs,
            "max_num_batched_tokens": scheduler.max_num_batched_tokens,
        }
    )


def _rehearse_with(
    name: str,
    settings: GeneratorSettings,
    model: Path | None,
    adapters: Mapping[str, Path],
    named: Mapping[str, Path],
) -> Rehearsed:
    for each in engine_sources(settings.engine_args):
        if each.field not in named:
            return Rehearsed(unseen=f"{each.source} is not here, so nothing was tried")
    return rehearse(name, with_local_weights(settings, named), model, adapters)


def main(result: Path) -> None:
    found = {}
    for name, asked in json.load(sys.stdin).items():
        settings = GeneratorSettings.model_validate(asked["settings"])
        model = Path(asked["model"]) if asked["model"] else None
        adapters = {each: Path(folder) for each, folder in asked["adapters"].items()}
        named = {field: Path(folder) for field, folder in asked["named"].items()}
        found[name] = asdict(_rehearse_with(name, settings, model, adapters, named))
    result.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
