"""The Ray Serve class of a generator."""

from collections.abc import Mapping
from typing import Any

from schemas.settings.live import model_with_live
from schemas.settings.models import GeneratorSettings
from serve_models.generation.engine import GenerationEngine
from serve_models.generation.engine_process import set_engine_environment
from serve_models.replicas.base import Replica, this_replica
from serve_models.replicas.gpus import given_gpus, hide_gpus, turn_to_load
from serve_models.replicas.runs_on import report_runs_on
from serve_models.weights.sources import resolve


class Generator(Replica):
    """One replica of a generator, over a vLLM engine (``handoff.chunk.ChunkModel``).

    Raises ``ModelSourceError`` for missing weights, ``GeneratorSettingsError`` for bad settings.
    """

    _server: GenerationEngine

    # Ray Serve awaits the constructor.
    async def __init__(  # type: ignore[misc]
        self, name: str, settings: GeneratorSettings
    ) -> None:
        self._settings = settings
        model = resolve(settings.source)
        adapters = {each: resolve(source) for each, source in settings.adapters.items()}
        set_engine_environment(settings)
        if settings.num_gpus == 0:
            hide_gpus()
        # vLLM reads its environment when it is imported, and is optional.
        from serve_models.generation.vllm import VllmEngine  # noqa: PLC0415 -- see above

        async with turn_to_load(settings.num_gpus, given_gpus()):
            engine = await VllmEngine.start(settings, name=name, model=model, adapters=adapters)
        report_runs_on(name, *engine.runs_on)
        self._server = GenerationEngine(
            engine,
            in_flight_ratio=settings.in_flight_ratio,
            outcome_linger_ms=settings.outcome_linger_ms,
            host=this_replica(),
        )

    def _take_over(self, live: Mapping[str, Any]) -> None:
        settings = model_with_live(self._settings, live)
        self._server.outcome_linger_s = settings.outcome_linger_ms / 1000
        self._server.set_in_flight_ratio(settings.in_flight_ratio)
