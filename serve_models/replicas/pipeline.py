"""A pipeline as a Ray Serve deployment's class."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from ray.serve.exceptions import DeploymentUnavailableError

from handoff.chunk import STATUS_UNAVAILABLE, Chunk, Outcomes
from schemas.settings.live import model_with_live
from schemas.settings.pipelines import PipelineSettings
from serve_models.pipeline.engine import PipelineEngine
from serve_models.replicas.base import Replica, this_replica
from serve_models.serving.failures import encode_failure_body

_ACCEPTANCE_S = 5.0
"""A call that no replica has taken by then is made anew: Serve's router holds calls to a model that
was deleted meanwhile for ever, but refuses new ones."""


class Pipeline(Replica):
    """One replica: takes records through its steps (``handoff.chunk.ChunkModel``).

    Args:
        name: The pipeline's name in the settings.
        settings: Its steps.
        models: Handles of the models that the steps name.
        calls_per_window: Of each of these models, into how many calls a window of it is divided.
    """

    _server: PipelineEngine

    def __init__(
        self,
        name: str,
        settings: PipelineSettings,
        models: Mapping[str, Any],
        calls_per_window: Mapping[str, int],
    ) -> None:
        self._settings = settings
        self._server = PipelineEngine(
            name=name,
            settings=settings,
            models={model: StepHandle(handle) for model, handle in models.items()},
            calls_per_window=calls_per_window,
            host=this_replica(),
        )

    def _take_over(self, live: Mapping[str, Any]) -> None:
        settings = model_with_live(self._settings, live)
        self._server.outcome_linger_s = settings.outcome_linger_ms / 1000
        self._server.step_linger_s = settings.step_linger_ms / 1000
        self._server.slot_window.slots = settings.window_records


class StepHandle:
    """Calls another model's deployment (``serve_models.pipeline.engine.StepModel``).

    Args:
        handle: The deployment's handle.
        acceptance_s: How long a call may wait for a replica before it is made anew.
    """

    def __init__(self, handle: Any, acceptance_s: float = _ACCEPTANCE_S) -> None:
        self._infer = handle.options(stream=True, method_name="infer")
        self._acceptance_s = acceptance_s

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        """Stream a chunk's outcomes; raises what Ray raises where the replica is lost.

        Where Serve has given the model up, all records are answered ``STATUS_UNAVAILABLE``: they
        come back later, and it counts against nobody.
        """
        try:
            stream = await self._accepted(chunk)
        except DeploymentUnavailableError as error:
            refused = Outcomes(replica="", window_records=len(chunk.lines))
            for index in range(len(chunk.lines)):
                refused.add(index, STATUS_UNAVAILABLE, encode_failure_body(error))
            yield refused
            return
        try:
            async for outcomes in stream:
                yield outcomes
        except (GeneratorExit, asyncio.CancelledError):
            # The caller does not wait for the rest: free what the replica still computes of it.
            stream.cancel()
            raise

    async def _accepted(self, chunk: Chunk) -> Any:
        while True:
            stream = self._infer.remote(chunk)
            try:
                async with asyncio.timeout(self._acceptance_s):
                    await stream._to_object_ref_gen()  # noqa: SLF001 - Serve's developer API, so named
            except TimeoutError:
                stream.cancel()
            except asyncio.CancelledError:
                stream.cancel()
                raise
            else:
                return stream
