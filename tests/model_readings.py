"""Readings with a value for each metric of a table, whatever it means."""

from collections.abc import Iterator, Sequence

from handoff.exporting import Key, Readings
from handoff.histogram import Histogram
from schemas.metrics import Metric


def readings_of_all(metrics: Sequence[Metric], common: str) -> Readings:
    """Return a value for each metric; ``common`` is the label that all of them share."""
    histogram = Histogram((1.0, 2.0))
    histogram.observe(1.5)
    return Readings(
        {key: 1.0 for each in metrics if each.kind == "counter" for key in _keys(each, common)},
        {key: 1.0 for each in metrics if each.kind == "gauge" for key in _keys(each, common)},
        {
            key: histogram
            for each in metrics
            if each.kind == "histogram"
            for key in _keys(each, common)
        },
    )


def _keys(metric: Metric, common: str) -> Iterator[Key]:
    if metric.labels == (common,):
        yield metric.name
    else:
        yield metric.name, "one"
        yield metric.name, "another"
