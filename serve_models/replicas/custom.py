"""The Ray Serve class of a custom model."""

import logging

from handoff.logs import log_through_serve
from schemas.settings.models import CustomModelSettings
from serve_models.custom.building import build_custom_model, serve_custom_model
from serve_models.custom.engine import ask_health
from serve_models.replicas.base import Replica, this_replica
from serve_models.replicas.gpus import given_gpus, hide_gpus

log = logging.getLogger(__name__)


class CustomModel(Replica):
    """One replica; the class's ``check_health`` is the replica's. Raises ``CustomModelError``."""

    # Ray Serve awaits the constructor.
    async def __init__(  # type: ignore[misc]
        self, name: str, settings: CustomModelSettings
    ) -> None:
        log_through_serve()
        if not given_gpus():
            hide_gpus()
        self._model = build_custom_model(settings)
        self._server = serve_custom_model(self._model, this_replica())
        self._export_metrics(name)
        log.info(
            "custom model %s is built",
            settings.import_path,
            extra={"event": "model_loaded", "import_path": settings.import_path},
        )

    async def check_health(self) -> None:
        await super().check_health()
        await ask_health(self._model)
