"""A consumer replica's numbers as Ray metrics, which Ray exports to Prometheus."""

from ray.util.metrics import Counter, Gauge

from handoff.exporting import ExportedMetrics, Library
from schemas.metrics import CONSUMER


class ConsumerMetrics(ExportedMetrics):
    def __init__(self, route: str) -> None:
        super().__init__(CONSUMER, {"route": route}, Library(Counter, Gauge))
