"""The Ray Serve class of a generator."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from handoff.logs import log_through_serve
from schemas.settings.live import model_with_live
from schemas.settings.models import GeneratorSettings, weight_sources
from serve_models.generation.adapters.checkpoint import AdapterError
from serve_models.generation.engine import GenerationEngine
from serve_models.generation.engine_process import set_engine_environment
from serve_models.generation.local_weights import with_local_weights
from serve_models.replicas.base import Replica, this_replica
from serve_models.replicas.gpus import given_gpus, hide_gpus, turn_to_load
from serve_models.replicas.runs_on import report_runs_on
from serve_models.weights.sources import ModelSourceError, resolve_all

if TYPE_CHECKING:
    from serve_models.generation.vllm import VllmEngine


class Generator(Replica):
    """One replica of a generator, over a vLLM engine (``handoff.chunk.ChunkModel``).

    Raises ``ModelSourceError`` for missing weights, ``GeneratorSettingsError`` for bad settings.
    ``takes_adapters`` says that the engine has room for adapters, though it may start without one.
    """

    _server: GenerationEngine
    _engine: "VllmEngine | None" = None

    def __init__(
        self, name: str, settings: GeneratorSettings, *, takes_adapters: bool = False
    ) -> None:
        log_through_serve()
        self._name = name
        self._settings = settings
        self._takes_adapters = takes_adapters
        self._configuring = asyncio.Lock()

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Start the engine with the first configuration; take over what later ones change.

        The first one comes before any call, and says which adapters need room. Serve may send the
        next one while the engine starts.
        """
        self._note_change(user_config["live"])
        settings = model_with_live(self._settings, user_config["live"])
        async with self._configuring:
            if self._engine is None:
                await self._start(settings)
                return
            self._server.outcome_linger_s = settings.outcome_linger_ms / 1000
            self._server.set_in_flight_ratio(settings.in_flight_ratio)
            await self._engine.adapters.apply(settings.adapters)

    async def _start(self, settings: GeneratorSettings) -> None:
        paths = resolve_all(weight_sources(settings))
        adapters = {each: paths[f"adapters.{each}"] for each in settings.adapters}
        local = with_local_weights(settings, paths)
        set_engine_environment(local)
        if settings.num_gpus == 0:
            hide_gpus()
        # vLLM reads its environment when it is imported, and is optional.
        from serve_models.generation.vllm import VllmEngine  # noqa: PLC0415 -- see above

        async with turn_to_load(settings.num_gpus, given_gpus()):
            self._engine = await VllmEngine.start(
                local,
                name=self._name,
                model=paths["source"],
                adapters=adapters,
                takes_adapters=self._takes_adapters,
                reports_to_ray=True,
            )
        report_runs_on(self._name, *self._engine.runs_on)
        self._server = GenerationEngine(
            self._engine,
            in_flight_ratio=settings.in_flight_ratio,
            outcome_linger_ms=settings.outcome_linger_ms,
            host=this_replica(),
        )
        self._export_metrics(self._name)

    async def adapters(self) -> dict[str, Any]:
        """Return the adapters that requests can name, and what keeps others out, by name."""
        replica = this_replica().replica
        found = self._started.adapters
        return {"replica": replica, "loaded": found.loaded, "problems": found.problems}

    async def adapter_problem(self, name: str, source: str) -> str | None:
        """Return why this replica could not load an adapter, or ``None``; loads nothing."""
        try:
            await self._started.adapters.check(name, source)
        except (AdapterError, ModelSourceError) as error:
            return str(error)
        return None

    @property
    def _started(self) -> "VllmEngine":
        if self._engine is None:
            raise RuntimeError("a replica is called before it was configured. This is a bug.")
        return self._engine
