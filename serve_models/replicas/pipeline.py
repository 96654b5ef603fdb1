"""A pipeline as a Ray Serve deployment's class."""

from collections.abc import Mapping
from typing import Any

from handoff.model_handle import ModelHandle
from schemas.settings.pipelines import PipelineSettings
from serve_models.pipeline.engine import PipelineEngine
from serve_models.replicas.base import Replica, this_replica

_ACCEPTANCE_S = 5.0


class Pipeline(Replica):
    """One replica of a pipeline (``handoff.chunk.ChunkModel``).

    Args:
        name: The pipeline's name in the settings.
        settings: Its steps.
        models: Handles of the models that the steps name.
        calls_per_window: By model, into how many calls the window of its replica is divided.
    """

    def __init__(
        self,
        name: str,
        settings: PipelineSettings,
        models: Mapping[str, Any],
        calls_per_window: Mapping[str, int],
    ) -> None:
        self._server = PipelineEngine(
            name=name,
            settings=settings,
            models={model: ModelHandle(handle, _ACCEPTANCE_S) for model, handle in models.items()},
            calls_per_window=calls_per_window,
            host=this_replica(),
        )
