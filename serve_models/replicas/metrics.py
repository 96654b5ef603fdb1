"""A model replica's numbers as Ray metrics, which Ray exports to Prometheus."""

import asyncio
import logging
from collections.abc import Callable

from ray.util.metrics import Counter, Gauge

from handoff.exporting import ExportedMetrics, Key, Library, Readings
from schemas.metrics import MODEL
from serve_models.replicas.gpu_usage import GpuUsage
from serve_models.replicas.gpus import given_gpus

logger = logging.getLogger(__name__)

_EVERY_S = 1.0
_GPUS_EVERY_S = 5.0


class ModelMetrics(ExportedMetrics):
    def __init__(self, model: str) -> None:
        super().__init__(MODEL, {"model": model}, Library(Counter, Gauge))


async def export_readings(model: str, read: Callable[[], Readings]) -> None:
    """Export what ``read`` returns, about once a second, and the use of the replica's GPUs.

    Never ends, and raises nothing: metrics must not keep a model from its work.
    """
    try:
        metrics = ModelMetrics(model)
        usage = await asyncio.to_thread(GpuUsage, given_gpus())
    except Exception:
        logger.exception(
            "the metrics of %s are not exported",
            model,
            extra={"event": "metrics_not_exported", "model": model},
        )
        return
    gpus: dict[Key, float] = {}
    loop = asyncio.get_running_loop()
    gpus_due_at_s = loop.time()
    while True:
        try:
            if usage.is_known and loop.time() >= gpus_due_at_s:
                gpus_due_at_s = loop.time() + _GPUS_EVERY_S
                gpus = await asyncio.to_thread(usage.read)
            found = read()
            metrics.update(Readings(found.counters, {**found.gauges, **gpus}, found.histograms))
        except Exception as error:  # noqa: BLE001 - see above
            logger.debug("metrics of %s were not read: %r", model, error)
        await asyncio.sleep(_EVERY_S)
