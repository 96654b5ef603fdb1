"""Runs a text model's token ids on vLLM's pooling runner (``PoolingEngine``).

vLLM batches by itself: each text is a request of its own, and those of several batches run
together. Import this module after ``engine_process.set_engine_environment``.
"""

import asyncio
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from vllm import AsyncEngineArgs, PoolingParams
from vllm.inputs import TokensPrompt
from vllm.platforms import current_platform
from vllm.v1.engine.async_llm import AsyncLLM

from schemas.settings.models import EmbedderSettings, TextModelSettings
from serve_models.generation.arguments import (
    USAGE_CONTEXT,
    GeneratorSettingsError,
    check_platform,
    split_arguments,
    with_setting_names,
)
from serve_models.generation.cpu_dtypes import is_quick_in_bfloat16, with_quick_dtype
from serve_models.generation.placement import placed_engine_args
from serve_models.pooling.placement import PoolingTask, engine_settings, pooling_args
from serve_models.text.models.base import ModelSettingsError, Rows
from serve_models.text.models.tokenizing import TokenizedText


class VllmPooling:
    """One engine; create it with ``start``. ``rows`` may not be called in the engine's loop."""

    def __init__(
        self, engine: AsyncLLM, task: PoolingTask, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._engine = engine
        self._task = task
        self._loop = loop
        self._numbers = itertools.count()
        config = engine.model_config
        self.max_tokens = int(config.max_model_len)
        self.vocabulary_tokens = int(config.get_vocab_size())
        # Tokenizers may give type ids where the model has no table; they would end the engine.
        self._reads_type_ids = getattr(config.hf_config, "type_vocab_size", 0) > 1

    @classmethod
    async def start(cls, settings: TextModelSettings, model: Path) -> "VllmPooling":
        """Load the model; blocks the calling event loop for about a minute.

        The engine belongs to the calling loop. Raises ``ModelSettingsError`` if vLLM cannot run the
        checkpoint, or refuses an argument.
        """
        place = engine_settings(settings)
        try:
            check_platform(
                place, is_cpu=current_platform.is_cpu(), is_gpu=current_platform.is_cuda_alike()
            )
            engine_arguments, handler_arguments = split_arguments(
                {**placed_engine_args(place), **pooling_args(settings)}
            )
        except GeneratorSettingsError as error:
            raise ModelSettingsError(str(error)) from error
        if handler_arguments:
            name = next(iter(handler_arguments))
            raise ModelSettingsError(f"engine_args.{name}: is a generator's; leave it out")
        if settings.num_gpus == 0:
            engine_arguments = with_quick_dtype(
                engine_arguments, is_quick_in_bfloat16=is_quick_in_bfloat16()
            )
        try:
            engine = AsyncLLM.from_engine_args(
                AsyncEngineArgs(model=str(model), **engine_arguments),
                usage_context=USAGE_CONTEXT,
            )
        except (TypeError, ValueError) as error:
            message = with_setting_names(str(error))
            raise ModelSettingsError(f"backend: vllm cannot run this model: {message}") from error
        task: PoolingTask = "embed" if isinstance(settings, EmbedderSettings) else "classify"
        return cls(engine, task, asyncio.get_running_loop())

    @property
    def runs_on(self) -> tuple[str, ...]:
        """The device, the number format and the size of a step, for people."""
        config = self._engine.vllm_config
        return (
            str(config.device_config.device_type),
            str(config.model_config.dtype).removeprefix("torch."),
            f"max_num_batched_tokens {self.step_tokens}",
        )

    @property
    def step_tokens(self) -> int:
        """The most tokens of one step of the engine."""
        return int(self._engine.vllm_config.scheduler_config.max_num_batched_tokens)

    def rows(self, texts: Sequence[TokenizedText]) -> Rows:
        """Return the row of each text, float32 [texts, width]; blocks the calling thread."""
        return asyncio.run_coroutine_threadsafe(self._rows(texts), self._loop).result()

    def shut_down(self) -> None:
        self._engine.shutdown()

    async def _rows(self, texts: Sequence[TokenizedText]) -> Rows:
        rows = await asyncio.gather(*map(self._row, texts), return_exceptions=True)
        for row in rows:
            if isinstance(row, BaseException):
                raise row
        return np.stack([row for row in rows if not isinstance(row, BaseException)])

    async def _row(self, text: TokenizedText) -> Rows:
        params = PoolingParams(task=self._task)
        if self._task == "classify":
            # The endpoints apply the checkpoint's activation, or none, as each request asks.
            params.use_activation = False
        if self._reads_type_ids and any(text.type_ids):
            params.extra_kwargs = {"compressed_token_type_ids": list(text.type_ids).index(1)}
        prompt = TokensPrompt(prompt_token_ids=list(text.ids))
        answers = self._engine.encode(prompt, params, f"text-{next(self._numbers)}")
        async for answer in answers:
            row: Rows = answer.outputs.data.float().cpu().numpy()
        return row.reshape(-1)
