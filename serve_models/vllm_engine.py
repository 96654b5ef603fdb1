"""vLLM behind ``GeneratingModel``: its engine, and the handlers of its own OpenAI server.

The handlers are what makes a record here answer as it would over HTTP: chat templates, sampling
parameters, structured outputs, tools, logprobs and usage are theirs. Import this module after
``engine_process.set_engine_environment``.
"""

import asyncio
import dataclasses
import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import JsonValue
from vllm import AsyncEngineArgs
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion
from vllm.entrypoints.openai.models.protocol import BaseModelPath, LoRAModulePath
from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.exceptions import VLLMValidationError
from vllm.renderers.chat_utils import load_chat_template
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from schemas.handoff import STATUS_OK
from schemas.model_settings import GeneratorSettings
from serve_models.generation_bodies import BodyNotTakenError, check_body
from serve_models.generation_engine import Answer, GeneratorDiedError
from serve_models.generation_refusals import Refusals, refuse, refuse_unknown_model
from serve_models.placement import placed_engine_args

CHAT_URL = "/v1/chat/completions"
COMPLETIONS_URL = "/v1/completions"
_HANDLER_ARGS = frozenset(
    {
        "chat_template_content_format",
        "default_chat_template_kwargs",
        "enable_auto_tool_choice",
        "tool_call_parser",
    }
)
"""Arguments of vLLM's server rather than of its engine that change what a model answers."""
_CHAT_REFUSALS = Refusals(ChatCompletionRequest, "messages", [{"role": "user", "content": "Hello"}])
_COMPLETION_REFUSALS = Refusals(CompletionRequest, "prompt", "Hello")
_GONE = "Client disconnected"
"""vLLM's answer to a cancellation; where nobody cancelled here, the engine did."""
_LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
_MOST_LORAS_AT_A_TIME = 8


class GeneratorSettingsError(ValueError):
    """A setting does not fit vLLM or the checkpoint; names it and the fix."""


class _RefusesFullContext:
    """Refuses a prompt that leaves no room for a token, which vLLM answers with empty text."""

    prompt_field: str

    def _extract_prompt_len(self, prompt: Any) -> int:
        tokens = int(super()._extract_prompt_len(prompt))  # type: ignore[misc] # of vLLM's handler
        limit: int = self.model_config.max_model_len  # type: ignore[attr-defined] # the same
        if tokens >= limit:
            raise VLLMValidationError(
                f"takes {tokens} tokens of the {limit} that prompt and answer may have together "
                "(max_model_len), which leaves none to generate; shorten it",
                parameter=self.prompt_field,
            )
        return tokens


class _Chat(_RefusesFullContext, OpenAIServingChat):
    prompt_field = "messages"


class _Completion(_RefusesFullContext, OpenAIServingCompletion):
    prompt_field = "prompt"


class VllmEngine:
    """One vLLM engine and what answers requests with it; make it with ``start``."""

    def __init__(
        self,
        engine: AsyncLLM,
        chat: _Chat,
        completion: _Completion,
        names: tuple[str, ...],
        engine_args: Mapping[str, JsonValue],
    ) -> None:
        self._engine = engine
        self._chat = chat
        self._completion = completion
        self._names = names
        self._engine_args = engine_args

    @classmethod
    async def start(
        cls,
        settings: GeneratorSettings,
        *,
        name: str,
        model: Path,
        adapters: Mapping[str, Path],
    ) -> "VllmEngine":
        """Load the model; takes a minute, in which the calling event loop stands still.

        The loop, because vLLM ties its sockets to the one that it is made on, and the thread that
        starts the engine's processes must live as long as they shall.

        Args:
            settings: What to load and how to run it.
            name: The model's name in the settings.
            model: The checkpoint's directory.
            adapters: Directories of the LoRA adapters, by name.

        Raises:
            GeneratorSettingsError: An engine argument or adapter cannot be used.
        """
        names = (name, *settings.served_names)
        arguments, handler_arguments = split_arguments(placed_engine_args(settings))
        try:
            engine = AsyncLLM.from_engine_args(
                AsyncEngineArgs(
                    model=str(model),
                    served_model_name=list(names),
                    **{**lora_arguments(adapters), **arguments},
                )
            )
        except (TypeError, ValueError) as error:
            raise GeneratorSettingsError(f"engine_args: vLLM refuses them: {error}") from error
        models = OpenAIServingModels(
            engine,
            [BaseModelPath(each, str(model)) for each in names],
            lora_modules=[
                LoRAModulePath(adapter, str(path), base_model_name=name)
                for adapter, path in adapters.items()
            ],
        )
        try:
            await models.init_static_loras()
        except ValueError as error:
            engine.shutdown()
            raise GeneratorSettingsError(f"adapters: vLLM refuses one: {error}") from error
        chat, completion = _handlers(settings, engine, models, handler_arguments)
        return cls(engine, chat, completion, (*names, *adapters), arguments)

    @property
    def max_num_seqs(self) -> int:
        """Sequences that the engine runs at a time."""
        return int(self._engine.vllm_config.scheduler_config.max_num_seqs)

    @property
    def unfinished_requests(self) -> int:
        """Requests that the engine runs or holds."""
        return int(self._engine.get_num_unfinished_requests())

    async def answer(self, url: str, body: dict[str, Any]) -> Answer:
        """Answer one request whole; cancelling it aborts it in the engine.

        Raises:
            GeneratorDiedError: The engine cannot go on.
        """
        model = body.get("model") or self._names[0]
        if refusal := self._refuse_unserved(body, model):
            return refusal
        is_chat = url == CHAT_URL
        request_class = ChatCompletionRequest if is_chat else CompletionRequest
        refusals = _CHAT_REFUSALS if is_chat else _COMPLETION_REFUSALS
        try:
            request = request_class.model_validate(self._adapted(body, model))
        except Exception as error:  # noqa: BLE001 -- the body's fault whatever it is; see there
            return refusals.of_unreadable(body, error)
        try:
            if is_chat:
                response = await self._chat.create_chat_completion(request)
            else:
                response = await self._completion.create_completion(request)
        except EngineDeadError as error:
            raise GeneratorDiedError(f"vLLM's engine died: {error}") from error
        except Exception as error:
            refusal = refusals.of(error)
            if refusal is None:
                raise
            return refusal
        if (task := asyncio.current_task()) is not None and task.cancelling():
            # vLLM's handlers aborted the request, and answer that the client is gone.
            raise asyncio.CancelledError
        if isinstance(response, ErrorResponse):
            if response.error.message == _GONE:
                raise RuntimeError("vLLM's handler was cancelled from within")
            refusal = refusals.of_response(response)
            if refusal is None:
                raise RuntimeError(response.error.message)
            return refusal
        response.model = model
        return Answer(
            STATUS_OK, response.model_dump_json().encode(), tokens=response.usage.total_tokens
        )

    def check_alive(self) -> None:
        """Return if the engine can go on.

        Raises:
            GeneratorDiedError: It cannot.
        """
        if self._engine.errored:
            raise GeneratorDiedError(f"vLLM's engine died: {self._engine.dead_error}")

    def shut_down(self) -> None:
        """End the engine's processes."""
        self._engine.shutdown()

    def _refuse_unserved(self, body: dict[str, Any], model: object) -> Answer | None:
        if isinstance(model, str) and model not in self._names:
            return refuse_unknown_model(model, self._names)
        arguments = self._engine_args
        try:
            check_body(
                body,
                takes_kv_transfer=arguments.get("kv_transfer_config") is not None,
                takes_media_urls=bool(arguments.get("allowed_media_domains")),
            )
        except BodyNotTakenError as error:
            return refuse(str(error), param=error.param)
        return None

    def _adapted(self, body: dict[str, Any], model: object) -> dict[str, Any]:
        """Return the body with lengths clipped to the model's, and without what is not for it."""
        adapted = {**body, "model": model}
        # Names the request in the engine, where it must be one of a kind.
        adapted.pop("request_id", None)
        limit = self._engine.model_config.max_model_len
        for field in ("max_tokens", "max_completion_tokens"):
            asked = adapted.get(field)
            if isinstance(asked, int) and asked > limit:
                adapted[field] = limit
        return adapted


def _handlers(
    settings: GeneratorSettings,
    engine: AsyncLLM,
    models: OpenAIServingModels,
    arguments: Mapping[str, Any],
) -> tuple[_Chat, _Completion]:
    template = load_chat_template(settings.chat_template)
    structured = engine.vllm_config.structured_outputs_config
    shared = {
        "chat_template": template,
        "chat_template_content_format": arguments.get("chat_template_content_format", "auto"),
        "default_chat_template_kwargs": arguments.get("default_chat_template_kwargs"),
        "enable_auto_tools": bool(arguments.get("enable_auto_tool_choice", False)),
        "tool_parser": arguments.get("tool_call_parser"),
        "reasoning_parser": structured.reasoning_parser,
        "request_logger": None,
    }
    renderer = OnlineRenderer(engine.model_config, engine.renderer, **shared)
    chat = _Chat(engine, models, "assistant", online_renderer=renderer, **shared)
    completion = _Completion(engine, models, online_renderer=renderer, request_logger=None)
    return chat, completion


def split_arguments(
    arguments: Mapping[str, JsonValue],
) -> tuple[dict[str, JsonValue], dict[str, JsonValue]]:
    """Part the ``engine_args`` setting into the engine's and those of the server's handlers.

    Raises:
        GeneratorSettingsError: vLLM has no such argument.
    """
    known = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    for name in arguments:
        if name not in known | _HANDLER_ARGS:
            guesses = difflib.get_close_matches(name, known | _HANDLER_ARGS, n=1)
            hint = f"; did you mean {guesses[0]}?" if guesses else ""
            raise GeneratorSettingsError(f"engine_args.{name}: vLLM has no such argument{hint}")
    engine = {name: value for name, value in arguments.items() if name in known}
    handlers = {name: value for name, value in arguments.items() if name not in known}
    return engine, handlers


def lora_arguments(adapters: Mapping[str, Path]) -> dict[str, Any]:
    """Return the engine arguments that make room for the adapters.

    Raises:
        GeneratorSettingsError: An adapter has no readable ``adapter_config.json``.
    """
    if not adapters:
        return {}
    largest = max(_lora_rank(name, path) for name, path in adapters.items())
    return {
        "enable_lora": True,
        "max_loras": min(len(adapters), _MOST_LORAS_AT_A_TIME),
        "max_lora_rank": next((rank for rank in _LORA_RANKS if rank >= largest), largest),
    }


def _lora_rank(name: str, path: Path) -> int:
    try:
        return int(json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))["r"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GeneratorSettingsError(
            f"adapters.{name}: {path} has no readable adapter_config.json with a rank 'r': {error}"
        ) from error
