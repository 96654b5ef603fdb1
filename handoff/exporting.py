"""Hands a process's own numbers to a metrics library, which counts by differences.

Whatever counts a record or a batch adds to a plain number. Now and then all numbers are read, and
the library hears of those that changed. Ray's is passed in: neither side of the handoff shares it
by an import.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from handoff.histogram import Histogram
from schemas.metrics import Metric

Key = str | tuple[str, str]
"""A metric's name in the table, with the value of its label where it has one of its own."""


@dataclass(frozen=True, slots=True)
class Readings:
    """Values by the metrics of ``schemas.metrics``; a gauge without a value is left out."""

    counters: Mapping[Key, float] = field(default_factory=dict)
    gauges: Mapping[Key, float] = field(default_factory=dict)
    histograms: Mapping[Key, Histogram] = field(default_factory=dict)


class CounterSeries(Protocol):
    def inc(self, value: float, tags: dict[str, str]) -> None:
        """Add a value above 0."""


class GaugeSeries(Protocol):
    def set(self, value: float, tags: dict[str, str]) -> None: ...


@dataclass(frozen=True, slots=True)
class Library:
    """What makes a library's metrics, of a name, a help text and the names of the labels."""

    counter: Callable[[str, str, tuple[str, ...]], CounterSeries]
    gauge: Callable[[str, str, tuple[str, ...]], GaugeSeries]


class ExportedMetrics:
    """The metrics of a table, with ``tags`` for the labels that all of them share here."""

    def __init__(self, metrics: Sequence[Metric], tags: dict[str, str], library: Library) -> None:
        self._metrics = {each.name: each for each in metrics}
        self._tags = tags
        self._library = library
        self._counters: dict[Key, _GrowingCounter] = {}
        self._histograms: dict[Key, _ExportedHistogram] = {}
        self._gauges: dict[Key, tuple[GaugeSeries, dict[str, str]]] = {}
        # Of one name there is one, whatever its labels.
        self._made_counters: dict[str, CounterSeries] = {}
        self._made_gauges: dict[str, GaugeSeries] = {}

    def update(self, readings: Readings) -> None:
        for key, count in readings.counters.items():
            counter = self._counters.get(key)
            if counter is None:
                counter = self._counters[key] = self._counter(key)
            counter.set(count)
        for key, value in readings.gauges.items():
            series, tags = self._gauges.get(key) or self._gauge(key)
            series.set(float(value), tags)
        for key, histogram in readings.histograms.items():
            exported = self._histograms.get(key)
            if exported is None:
                exported = self._histograms[key] = self._histogram(key, histogram)
            exported.set(histogram)

    def _place(self, key: Key) -> tuple[Metric, dict[str, str]]:
        if isinstance(key, str):
            return self._metrics[key], self._tags
        name, value = key
        metric = self._metrics[name]
        (label,) = (each for each in metric.labels if each not in self._tags)
        return metric, {**self._tags, label: value}

    def _counter(self, key: Key) -> "_GrowingCounter":
        metric, tags = self._place(key)
        return _GrowingCounter(self._made(metric, metric.registered, metric.labels), tags)

    def _gauge(self, key: Key) -> tuple[GaugeSeries, dict[str, str]]:
        metric, tags = self._place(key)
        series = self._made_gauges.get(metric.registered)
        if series is None:
            series = self._library.gauge(metric.registered, metric.help, metric.labels)
            self._made_gauges[metric.registered] = series
        self._gauges[key] = series, tags
        return series, tags

    def _histogram(self, key: Key, histogram: Histogram) -> "_ExportedHistogram":
        metric, tags = self._place(key)
        name, labels = metric.registered, metric.labels
        buckets = self._made(metric, f"{name}_bucket", (*labels, "le"))
        bounds = [*(f"{bound:g}" for bound in histogram.bounds), "+Inf"]
        return _ExportedHistogram(
            [_GrowingCounter(buckets, {**tags, "le": bound}) for bound in bounds],
            count=_GrowingCounter(self._made(metric, f"{name}_count", labels), tags),
            total=_GrowingCounter(self._made(metric, f"{name}_sum", labels), tags),
        )

    def _made(self, metric: Metric, name: str, labels: tuple[str, ...]) -> CounterSeries:
        made = self._made_counters.get(name)
        if made is None:
            made = self._made_counters[name] = self._library.counter(name, metric.help, labels)
        return made


class _GrowingCounter:
    """A counter of the library's, of what counts elsewhere, and may begin again from 0."""

    def __init__(self, counter: CounterSeries, tags: dict[str, str]) -> None:
        self._counter = counter
        self._tags = tags
        self._last = 0.0

    def set(self, value: float) -> None:
        if value < self._last:
            self._last = 0.0
        if value > self._last:
            self._counter.inc(value - self._last, self._tags)
            self._last = value


@dataclass(frozen=True, slots=True)
class _ExportedHistogram:
    """A histogram as counters; see ``schemas.metrics``."""

    by_bound: Sequence[_GrowingCounter]
    count: _GrowingCounter
    total: _GrowingCounter

    def set(self, histogram: Histogram) -> None:
        reached = histogram.cumulative()
        for counter, count in zip(self.by_bound, reached, strict=True):
            counter.set(count)
        self.count.set(reached[-1])
        self.total.set(histogram.total)
