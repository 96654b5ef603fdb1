"""The Ray Serve class of a pipeline."""

import logging
from collections.abc import Mapping
from typing import Any

from ray.serve.exceptions import DeploymentUnavailableError

from handoff.logs import log_through_serve
from handoff.model_handle import ModelHandle
from schemas.settings.live import model_with_live
from schemas.settings.pipelines import PipelineSettings
from serve_models.pipeline.engine import PipelineEngine
from serve_models.replicas.base import Replica, this_replica

log = logging.getLogger(__name__)

_ACCEPTANCE_S = 5.0


class Pipeline(Replica):
    """One replica of a pipeline (``handoff.chunk.ChunkModel``); ``models`` are Serve's handles."""

    _server: PipelineEngine

    def __init__(self, name: str, settings: PipelineSettings, models: Mapping[str, Any]) -> None:
        log_through_serve()
        self._settings = settings
        self._server = PipelineEngine(
            name=name,
            settings=settings,
            models={model: _step_model(handle) for model, handle in models.items()},
            host=this_replica(),
        )
        self._export_metrics(name)
        log.info(
            "pipeline %s calls %s",
            name,
            ", ".join(sorted(models)),
            extra={"event": "model_loaded", "model": name, "calls": sorted(models)},
        )

    def _take_over(self, live: Mapping[str, Any]) -> None:
        settings = model_with_live(self._settings, live)
        self._server.outcome_linger_s = settings.outcome_linger_ms / 1000
        self._server.step_linger_s = settings.step_linger_ms / 1000
        self._server.resize_window(settings.window_records)


def _step_model(handle: Any) -> ModelHandle:
    """Return a step's model; while Serve has given it up, its records come back later."""
    return ModelHandle(
        handle, _ACCEPTANCE_S, unavailable=DeploymentUnavailableError, turns_away=True
    )
