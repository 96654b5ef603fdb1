"""Adapts vLLM's engine, and the handlers of its own OpenAI server, to ``GeneratingModel``.

The handlers make a record's answer the same as over HTTP: chat templates, sampling parameters,
structured outputs, tools, logprobs and usage are theirs. Import this module after
``engine_process.set_engine_environment``.
"""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

from pydantic import BaseModel, JsonValue
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion
from vllm.entrypoints.openai.models.protocol import BaseModelPath
from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.exceptions import VLLMValidationError
from vllm.platforms import current_platform
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.sampling_params import StructuredOutputsParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from handoff.chunk import STATUS_OK
from handoff.clock import AwakeClock, Clock
from schemas.settings.models import GeneratorSettings
from serve_models.chunks.chunk_server import ReplicaLostError
from serve_models.chunks.watchdog import Patience, SilenceWatch
from serve_models.generation.adapters.adapters import Adapters, UnknownAdapterError
from serve_models.generation.adapters.vllm_adapters import VllmAdapters
from serve_models.generation.arguments import (
    USAGE_CONTEXT,
    GeneratorSettingsError,
    arguments_of,
    check_platform,
    read_chat_template,
    with_setting_names,
)
from serve_models.generation.checks import (
    RequestRefusedError,
    check_body,
    ignored_fields,
    without_nulls,
)
from serve_models.generation.engine import Answer
from serve_models.generation.limits import ModelLimits, check_request, clipped_lengths
from serve_models.generation.media.pixels import check_pixels
from serve_models.generation.media.policy import MediaPolicy, images_of
from serve_models.generation.noted import Notes, note_answer, note_question, notes
from serve_models.generation.refusals import Refusals, refuse, refuse_unknown_model
from serve_models.weights.sources import resolve

CHAT_URL = "/v1/chat/completions"
COMPLETIONS_URL = "/v1/completions"
_CHAT_REFUSALS = Refusals(ChatCompletionRequest, "messages")
_COMPLETION_REFUSALS = Refusals(CompletionRequest, "prompt")
_PATIENCE = Patience(least_s=600.0, first_s=1800.0)
"""Until vLLM gives the next tokens of any request. A long prompt gives none until it is read, which
takes minutes on a CPU."""
_STRUCTURED_FIELDS = frozenset(
    field.name for field in dataclasses.fields(StructuredOutputsParams) if field.init
)
_GONE = "Client disconnected"
"""vLLM's answer to a cancellation; if it was not cancelled here, it was in the engine."""


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
    """One vLLM engine and its handlers; create it with ``start``.

    Attributes:
        adapters: Its LoRA adapters, which may change while it runs.
    """

    def __init__(
        self,
        engine: AsyncLLM,
        chat: _Chat,
        completion: _Completion,
        names: tuple[str, ...],
        engine_args: Mapping[str, JsonValue],
        adapters: Adapters,
        max_image_pixels: int,
        clock: Clock | None = None,
    ) -> None:
        self._engine = engine
        self.adapters = adapters
        self._chat = chat
        self._completion = completion
        self._names = names
        self._engine_args = engine_args
        self._media = MediaPolicy.of(engine_args)
        self._max_image_pixels = max_image_pixels
        self._clock = clock or AwakeClock()
        self.watch = SilenceWatch(_PATIENCE)
        self._listen()
        self._note_times()
        config = engine.model_config
        vocabulary = config.get_vocab_size()
        self._limits = ModelLimits(
            max_model_len=config.max_model_len,
            max_logprobs=vocabulary if config.max_logprobs < 0 else config.max_logprobs,
            most_queued=engine.vllm_config.scheduler_config.max_num_queued_reqs,
        )

    @classmethod
    async def start(
        cls,
        settings: GeneratorSettings,
        *,
        name: str,
        model: Path,
        adapters: Mapping[str, Path],
        takes_adapters: bool = False,
        reports_to_ray: bool = False,
    ) -> "VllmEngine":
        """Load the model; blocks the calling event loop for about a minute.

        vLLM ties its sockets to the calling loop, and the thread that starts the engine's processes
        must live as long as they. ``model`` and ``adapters`` are directories; with
        ``takes_adapters`` the engine has room for some that come later. Raises
        ``GeneratorSettingsError`` if an engine argument, adapter or template cannot be used.
        ``reports_to_ray`` makes the engine's statistics metrics of Ray's, unless the settings say
        ``disable_log_stats``.
        """
        names = (name, *settings.served_names)
        check_platform(
            settings, is_cpu=current_platform.is_cpu(), is_gpu=current_platform.is_cuda_alike()
        )
        arguments = arguments_of(settings)
        template = read_chat_template(settings.chat_template)
        loggers = []
        if reports_to_ray and not arguments.engine.get("disable_log_stats"):
            from serve_models.generation.statistics.ray_statistics import RayStatistics  # noqa: PLC0415

            loggers.append(RayStatistics)
        # Otherwise vLLM would write and export them in ways of its own, too.
        arguments.engine["disable_log_stats"] = True
        try:
            engine = AsyncLLM.from_engine_args(
                arguments.engine_args(names, model, adapters, takes_adapters=takes_adapters),
                usage_context=USAGE_CONTEXT,
                stat_loggers=loggers,
            )
        except GeneratorSettingsError:
            raise
        except (TypeError, ValueError) as error:
            message = with_setting_names(str(error))
            raise GeneratorSettingsError(f"engine_args: vLLM refuses them: {message}") from error
        models = OpenAIServingModels(engine, [BaseModelPath(each, str(model)) for each in names])
        loader = VllmAdapters(engine, models, name)
        loaded = Adapters(loader, loader.room, names, resolve)
        sources = {each: settings.adapters.get(each, f"path:{adapters[each]}") for each in adapters}
        await loaded.apply(sources)
        for adapter, problem in loaded.problems.items():
            engine.shutdown()
            raise GeneratorSettingsError(f"adapters.{adapter}: {problem}")
        try:
            chat, completion = _handlers(template, engine, models, arguments.handlers)
        except Exception as error:
            engine.shutdown()
            raise GeneratorSettingsError(
                "engine_args: vLLM cannot answer with "
                f"{', '.join(sorted(arguments.handlers)) or 'its defaults'}: "
                f"{with_setting_names(str(error))}"
            ) from error
        return cls(
            engine, chat, completion, names, arguments.engine, loaded, settings.max_image_pixels
        )

    @property
    def runs_on(self) -> tuple[str, ...]:
        """What was chosen, by the settings or by vLLM, for people."""
        config = self._engine.vllm_config
        scheduler = config.scheduler_config
        return (
            str(config.device_config.device_type),
            str(config.model_config.dtype).removeprefix("torch."),
            f"max_num_seqs {scheduler.max_num_seqs}",
            f"max_num_batched_tokens {scheduler.max_num_batched_tokens}",
        )

    @property
    def max_num_seqs(self) -> int:
        return int(self._engine.vllm_config.scheduler_config.max_num_seqs)

    @property
    def unfinished_requests(self) -> int:
        return int(self._engine.get_num_unfinished_requests())

    async def answer(self, url: str, body: dict[str, Any]) -> Answer:
        # vLLM applies templates and tokenizes in threads. The checks and the JSON stay here: they
        # take some 60 µs a record, and a thread would need the same interpreter lock, and 50 µs
        # more to be asked.
        body = without_nulls(body)
        model = body.get("model") or self._names[0]
        if not isinstance(model, str) or model in self._names:
            return await self._answer(url, body, model, served=model)
        try:
            async with self.adapters.lease(model) as key:
                return await self._answer(url, body, model, served=key)
        except UnknownAdapterError:
            return refuse_unknown_model(model, (*self._names, *self.adapters.names))

    async def _answer(
        self, url: str, body: dict[str, Any], model: object, served: object
    ) -> Answer:
        """Answer a request of ``model``, which the engine knows as ``served``."""
        note_question(url, model, body)
        is_chat = url == CHAT_URL
        request_class = ChatCompletionRequest if is_chat else CompletionRequest
        refusals = _CHAT_REFUSALS if is_chat else _COMPLETION_REFUSALS
        try:
            self._check(body)
            if images := list(images_of(body.get("messages"))):
                await asyncio.to_thread(check_pixels, images, self._max_image_pixels)
            try:
                request = request_class.model_validate(_adapted(body, served))
            except Exception as error:  # noqa: BLE001 -- vLLM's checks of bare JSON raise anything
                return refusals.of_unreadable(error)
            self._limit(request, body)
        except RequestRefusedError as error:
            return refuse(str(error), param=error.param)
        try:
            response = await self._respond(request)
        except EngineDeadError as error:
            raise ReplicaLostError(f"vLLM's engine died: {error}") from error
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
        note_answer(response)
        return _answer_of(response, ignored_fields(body, request_class.model_fields))

    async def _respond(self, request: ChatCompletionRequest | CompletionRequest) -> Any:
        self.watch.opened(self._clock.monotonic())
        try:
            if isinstance(request, ChatCompletionRequest):
                return await self._chat.create_chat_completion(request)
            return await self._completion.create_completion(request)
        finally:
            self.watch.closed()

    def check_alive(self) -> None:
        if self._engine.errored:
            raise ReplicaLostError(f"vLLM's engine died: {self._engine.dead_error}")
        silent_s = self.watch.silent_s(self._clock.monotonic())
        if silent_s is not None:
            raise ReplicaLostError(
                f"vLLM's engine hangs: for {silent_s:.0f} s it has given no token of any request"
            )

    def shut_down(self) -> None:
        self._engine.shutdown()

    def _listen(self) -> None:
        """Watch each step that yields tokens, because the answers themselves arrive whole."""
        processor = self._engine.output_processor
        process = processor.process_outputs

        def process_and_hear(*args: Any, **kwargs: Any) -> Any:
            self.watch.heard(self._clock.monotonic())
            return process(*args, **kwargs)

        processor.process_outputs = process_and_hear

    def _note_times(self) -> None:
        """Note what vLLM knows of the times of sampled records; the handlers leave it out."""
        generate = self._engine.generate

        def generate_and_note(*args: Any, **kwargs: Any) -> Any:
            stream, noted = generate(*args, **kwargs), notes()
            return stream if noted is None else _noting(stream, noted)

        self._engine.generate = generate_and_note

    def _check(self, body: dict[str, Any]) -> None:
        check_body(
            body,
            takes_kv_transfer=self._engine_args.get("kv_transfer_config") is not None,
            media=self._media,
            structured_fields=_STRUCTURED_FIELDS,
        )

    def _limit(self, request: BaseModel, body: dict[str, Any]) -> None:
        # Not the attributes: pydantic would warn of a deprecated one at each request.
        values = vars(request)
        values.update(clipped_lengths(values, self._limits))
        check_request(values, body, self._limits)


async def _noting(stream: Any, noted: Notes) -> AsyncIterator[Any]:
    async with aclosing(stream):
        async for output in stream:
            if output.finished and output.metrics is not None:
                noted.timed(output.metrics)
            yield output


def _adapted(body: dict[str, Any], model: object) -> dict[str, Any]:
    """Return a body for vLLM, whose request ids must be unique in the engine."""
    return {**{name: each for name, each in body.items() if name != "request_id"}, "model": model}


def _answer_of(response: Any, ignored: list[str]) -> Answer:
    if ignored:
        response.ignored_fields = ignored
    return Answer(
        STATUS_OK, response.model_dump_json().encode(), tokens=response.usage.total_tokens
    )


def _handlers(
    template: str | None,
    engine: AsyncLLM,
    models: OpenAIServingModels,
    arguments: Mapping[str, Any],
) -> tuple[_Chat, _Completion]:
    structured = engine.vllm_config.structured_outputs_config
    shared = {
        "chat_template": template,
        "chat_template_content_format": arguments.get("chat_template_content_format", "auto"),
        "default_chat_template_kwargs": arguments.get("default_chat_template_kwargs"),
        "enable_auto_tools": bool(arguments.get("enable_auto_tool_choice", False)),
        "exclude_tools_when_tool_choice_none": bool(
            arguments.get("exclude_tools_when_tool_choice_none", False)
        ),
        "tool_parser": arguments.get("tool_call_parser"),
        "tool_strict_level": arguments.get("tool_strict_level", "auto"),
        "reasoning_parser": structured.reasoning_parser,
        "request_logger": None,
    }
    details = bool(arguments.get("enable_prompt_tokens_details", False))
    renderer = OnlineRenderer(engine.model_config, engine.renderer, **shared)
    chat = _Chat(
        engine,
        models,
        "assistant",
        online_renderer=renderer,
        enable_prompt_tokens_details=details,
        **shared,
    )
    completion = _Completion(
        engine,
        models,
        online_renderer=renderer,
        request_logger=None,
        enable_prompt_tokens_details=details,
    )
    return chat, completion
