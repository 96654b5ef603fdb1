"""Turns a generator's settings into vLLM's arguments, and names settings that vLLM would refuse.

Import this module after ``engine_process.set_engine_environment``.
"""

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import JsonValue
from vllm import AsyncEngineArgs
from vllm.reasoning import ReasoningParserManager
from vllm.renderers.chat_utils import ChatTemplateContentFormatOption
from vllm.tool_parsers import ToolParserManager
from vllm.tool_parsers.tool_strict_level import ToolStrictLevelName
from vllm.usage.usage_lib import UsageContext

from schemas.settings.models import GeneratorSettings
from serve_models.generation.adapters.checkpoint import AdapterError, read_checkpoint
from serve_models.generation.adapters.room import room_arguments
from serve_models.generation.cpu_dtypes import is_quick_in_bfloat16, with_quick_dtype
from serve_models.generation.placement import placed_engine_args

USAGE_CONTEXT = UsageContext.LLM_CLASS
"""Chooses vLLM's batch limits where the settings do not: those of its offline class ``LLM``, which
has a backlog too. Without a context they are the smallest that vLLM has, on any device."""
_HANDLER_ARGS = frozenset(
    {
        "chat_template_content_format",
        "default_chat_template_kwargs",
        "enable_auto_tool_choice",
        "enable_prompt_tokens_details",
        "exclude_tools_when_tool_choice_none",
        "tool_call_parser",
        "tool_strict_level",
    }
)
"""Arguments of vLLM's server, and not of its engine, that change what a model answers."""
_FLAG = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*[a-z0-9])")
_OWN_SETTINGS = {"chat_template": "chat_template", "served_model_name": "served_names"}
"""By the name of a flag of vLLM's command line, the setting that is not an engine argument."""


class GeneratorSettingsError(ValueError):
    """A setting does not fit vLLM or the checkpoint; the message names it and the fix."""


@dataclasses.dataclass(frozen=True, slots=True)
class Arguments:
    """What vLLM is started with.

    Attributes:
        engine: Keyword arguments of ``AsyncEngineArgs``, but for the model's own.
        handlers: Arguments of the server's handlers.
    """

    engine: dict[str, JsonValue]
    handlers: dict[str, JsonValue]

    def engine_args(
        self,
        names: Sequence[str],
        model: Path,
        adapters: Mapping[str, Path],
        *,
        takes_adapters: bool = False,
    ) -> AsyncEngineArgs:
        """Return vLLM's own; it raises ``TypeError`` or ``ValueError`` for values.

        With ``takes_adapters`` there is room for adapters that come later. Raises
        ``GeneratorSettingsError`` for an adapter that cannot be read.
        """
        room = _room_arguments(self.engine, adapters, takes_adapters=takes_adapters)
        own: dict[str, Any] = {**room, **self.engine}
        return AsyncEngineArgs(model=str(model), served_model_name=list(names), **own)


def arguments_of(settings: GeneratorSettings) -> Arguments:
    """Return the arguments of a generator where it runs, over Headrace's defaults.

    Raises ``GeneratorSettingsError`` for what vLLM would refuse, as far as it is known before the
    engine starts, which takes a minute.
    """
    engine, handlers = split_arguments(placed_engine_args(settings))
    check_handler_arguments(handlers)
    check_reasoning_parser(engine)
    if settings.num_gpus == 0:
        engine = with_quick_dtype(engine, is_quick_in_bfloat16=is_quick_in_bfloat16())
    return Arguments(engine, handlers)


def check_platform(settings: GeneratorSettings, *, is_cpu: bool, is_gpu: bool) -> None:
    """Raise ``GeneratorSettingsError`` if ``num_gpus`` does not go with the installed vLLM.

    ``is_cpu`` and ``is_gpu`` say what vLLM runs on here; on a TPU neither.
    """
    if settings.num_gpus == 0 and is_gpu:
        raise GeneratorSettingsError(
            "num_gpus: is 0, so Ray gives the replica no GPU, and vLLM here is a build for GPUs, "
            "which runs nothing on a CPU; set num_gpus to 1, or install the CPU build"
        )
    if settings.num_gpus > 0 and is_cpu:
        raise GeneratorSettingsError(
            f"num_gpus: is {settings.num_gpus:g}, and vLLM here runs on CPUs only; set num_gpus to "
            "0, or install its build for GPUs (make install GPU=1)"
        )


def split_arguments(
    arguments: Mapping[str, JsonValue],
) -> tuple[dict[str, JsonValue], dict[str, JsonValue]]:
    """Split ``engine_args`` into arguments of the engine and of the server's handlers.

    Raises ``GeneratorSettingsError`` if vLLM has no such argument.
    """
    known = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    for name in arguments:
        if name not in known | _HANDLER_ARGS:
            hint = _guess(name, known | _HANDLER_ARGS)
            raise GeneratorSettingsError(f"engine_args.{name}: vLLM has no such argument{hint}")
    engine = {name: value for name, value in arguments.items() if name in known}
    handlers = {name: value for name, value in arguments.items() if name not in known}
    return engine, handlers


def with_setting_names(message: str) -> str:
    """Return vLLM's message with our settings instead of its command-line flags."""
    return _FLAG.sub(lambda match: _setting_of(match[1].replace("-", "_")), message)


def _setting_of(flag: str) -> str:
    return _OWN_SETTINGS.get(flag, f"engine_args.{flag}")


def check_handler_arguments(arguments: Mapping[str, JsonValue]) -> None:
    """Raise ``GeneratorSettingsError`` for arguments that the handlers would refuse.

    Some arguments can be checked only at the start.
    """
    content_format = arguments.get("chat_template_content_format", "auto")
    if content_format not in get_args(ChatTemplateContentFormatOption):
        raise GeneratorSettingsError(
            "engine_args.chat_template_content_format: must be one of "
            f"{', '.join(get_args(ChatTemplateContentFormatOption))}"
        )
    if not isinstance(arguments.get("default_chat_template_kwargs") or {}, dict):
        raise GeneratorSettingsError("engine_args.default_chat_template_kwargs: must be a mapping")
    level = arguments.get("tool_strict_level", "auto")
    if level not in get_args(ToolStrictLevelName):
        raise GeneratorSettingsError(
            "engine_args.tool_strict_level: must be one of "
            f"{', '.join(get_args(ToolStrictLevelName))}"
        )
    parser = arguments.get("tool_call_parser")
    if parser is not None:
        _check_parser("tool_call_parser", parser, ToolParserManager.list_registered())
    if arguments.get("enable_auto_tool_choice") and parser is None:
        raise GeneratorSettingsError(
            "engine_args.enable_auto_tool_choice: needs tool_call_parser too; set it to the "
            "parser of the model's tool calls"
        )


def check_reasoning_parser(engine_args: Mapping[str, JsonValue]) -> None:
    """Raise ``GeneratorSettingsError`` for a parser of reasoning that vLLM does not have.

    vLLM itself finds that out at the first request, or not at all.
    """
    parser = engine_args.get("reasoning_parser")
    if parser and not engine_args.get("reasoning_parser_plugin"):
        _check_parser("reasoning_parser", parser, ReasoningParserManager.list_registered())


def _check_parser(name: str, parser: object, known: Sequence[str]) -> None:
    if parser not in known:
        raise GeneratorSettingsError(
            f"engine_args.{name}: vLLM has no '{parser}'{_guess(str(parser), known)} "
            f"(it has {', '.join(known)})"
        )


def read_chat_template(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise GeneratorSettingsError(
            f"chat_template: cannot be read where the replica runs: {error}"
        ) from error


def _room_arguments(
    engine_args: Mapping[str, JsonValue], adapters: Mapping[str, Path], *, takes_adapters: bool
) -> dict[str, JsonValue]:
    checkpoints = []
    for name, directory in adapters.items():
        try:
            checkpoints.append(read_checkpoint(directory))
        except AdapterError as error:
            raise GeneratorSettingsError(f"adapters.{name}: {error}") from error
    return room_arguments(engine_args, checkpoints, takes_adapters=takes_adapters)


def _guess(name: str, known: Iterable[str]) -> str:
    guesses = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {guesses[0]}?" if guesses else ""
