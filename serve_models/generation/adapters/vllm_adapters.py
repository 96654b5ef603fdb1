"""Loads adapters into a vLLM engine, beside the handlers that look them up.

Import this module after ``engine_process.set_engine_environment``.
"""

from pathlib import Path

from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.entrypoints.serve.lora.protocol import LoadLoRAAdapterRequest
from vllm.v1.engine.async_llm import AsyncLLM

from serve_models.generation.adapters.checkpoint import AdapterError
from serve_models.generation.adapters.room import AdapterRoom
from serve_models.generation.arguments import with_setting_names


class VllmAdapters:
    """The adapters of one engine, by keys (``AdapterEngine``)."""

    def __init__(self, engine: AsyncLLM, models: OpenAIServingModels, base_model: str) -> None:
        self._engine = engine
        self._models = models
        self._base_model = base_model

    @property
    def room(self) -> AdapterRoom | None:
        config = self._engine.vllm_config.lora_config
        if config is None:
            return None
        return AdapterRoom(config.max_lora_rank, config.max_cpu_loras or config.max_loras)

    async def load(self, key: str, directory: Path) -> None:
        answer = await self._models.load_lora_adapter(
            LoadLoRAAdapterRequest(lora_name=key, lora_path=str(directory)),
            base_model_name=self._base_model,
        )
        if isinstance(answer, ErrorResponse):
            said = with_setting_names(answer.error.message)
            raise AdapterError(f"vLLM refuses {directory}: {said}")

    async def unload(self, key: str) -> None:
        request = self._models.lora_requests.pop(key, None)
        if request is not None:
            await self._engine.remove_lora(request.lora_int_id)
