"""A consumer replica's numbers as Ray metrics, which Ray exports to Prometheus."""

from ray.util.metrics import Counter, Gauge

from consumer.replica.readings import Readings
from handoff.histogram import Histogram
from schemas.metrics import CONSUMER, Metric


class ConsumerMetrics:
    def __init__(self, route: str) -> None:
        tags = {"route": route}
        self._counters: dict[str, GrowingCounter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, ExportedHistogram] = {}
        for each in CONSUMER:
            if each.kind == "counter":
                counter = Counter(each.registered, each.help, each.labels)
                self._counters[each.name] = GrowingCounter(counter, tags)
            elif each.kind == "gauge":
                self._gauges[each.name] = Gauge(each.registered, each.help, each.labels)
                self._gauges[each.name].set_default_tags(tags)
            else:
                self._histograms[each.name] = ExportedHistogram(each, tags)

    def update(self, readings: Readings) -> None:
        for name, count in readings.counters.items():
            self._counters[name].set(count)
        for name, value in readings.gauges.items():
            self._gauges[name].set(float(value))
        for name, histogram in readings.histograms.items():
            self._histograms[name].set(histogram)


class GrowingCounter:
    """A counter of Ray's, of what counts elsewhere."""

    def __init__(self, counter: Counter, tags: dict[str, str]) -> None:
        self._counter = counter
        self._tags = tags
        self._last = 0.0

    def set(self, value: float) -> None:
        if value > self._last:
            self._counter.inc(value - self._last, self._tags)
            self._last = value


class ExportedHistogram:
    """A histogram as counters; see ``schemas.metrics``."""

    def __init__(self, metric: Metric, tags: dict[str, str]) -> None:
        name = metric.registered
        self._buckets = Counter(f"{name}_bucket", metric.help, (*metric.labels, "le"))
        self._tags = tags
        self._by_bound: list[GrowingCounter] = []
        self._count = GrowingCounter(Counter(f"{name}_count", metric.help, metric.labels), tags)
        self._sum = GrowingCounter(Counter(f"{name}_sum", metric.help, metric.labels), tags)

    def set(self, histogram: Histogram) -> None:
        if not self._by_bound:
            bounds = [*(f"{bound:g}" for bound in histogram.bounds), "+Inf"]
            self._by_bound = [
                GrowingCounter(self._buckets, {**self._tags, "le": bound}) for bound in bounds
            ]
        reached = histogram.cumulative()
        for counter, count in zip(self._by_bound, reached, strict=True):
            counter.set(count)
        self._count.set(reached[-1])
        self._sum.set(histogram.total)
