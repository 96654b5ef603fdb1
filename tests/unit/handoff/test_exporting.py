"""What a metrics library hears of numbers that are counted elsewhere."""

from collections import defaultdict

from handoff.exporting import ExportedMetrics, Library, Readings
from handoff.histogram import Histogram
from schemas.metrics import Metric

CALLS = Metric("calls", "counter", "calls", ("model",))
RECORDS = Metric("records", "counter", "records", ("model", "outcome"))
WAITING = Metric("waiting", "gauge", "waiting", ("model", "called"))
STEPS = Metric("step_seconds", "histogram", "steps", ("model", "step"))

Tags = frozenset[tuple[str, str]]


class FakeLibrary:
    def __init__(self) -> None:
        self.made: list[str] = []
        self.values: defaultdict[str, dict[Tags, float]] = defaultdict(dict)

    def make(self, name: str, _help: str, labels: tuple[str, ...]) -> "FakeSeries":
        self.made.append(name)
        return FakeSeries(self.values[name], set(labels))


class FakeSeries:
    def __init__(self, values: dict[Tags, float], labels: set[str]) -> None:
        self.values, self.labels = values, labels

    def inc(self, value: float, tags: dict[str, str]) -> None:
        assert value > 0
        assert set(tags) == self.labels
        key = frozenset(tags.items())
        self.values[key] = self.values.get(key, 0) + value

    def set(self, value: float, tags: dict[str, str]) -> None:
        assert set(tags) == self.labels
        self.values[frozenset(tags.items())] = value


def tags(**values: str) -> Tags:
    return frozenset({"model": "m", **values}.items())


def exported() -> tuple[ExportedMetrics, FakeLibrary]:
    library = FakeLibrary()
    metrics = (CALLS, RECORDS, WAITING, STEPS)
    return ExportedMetrics(metrics, {"model": "m"}, Library(library.make, library.make)), library


def test_the_library_hears_what_was_added_and_of_each_label_by_itself() -> None:
    metrics, library = exported()
    metrics.update(
        Readings({"calls": 2, ("records", "answered"): 5, ("records", "failed"): 0}, {}, {})
    )
    metrics.update(Readings({"calls": 3, ("records", "answered"): 5, ("records", "failed"): 1}))
    assert library.values["headrace_calls"] == {tags(): 3}
    assert library.values["headrace_records"] == {
        tags(outcome="answered"): 5,
        tags(outcome="failed"): 1,
    }
    # One metric for all values of its label.
    assert library.made.count("headrace_records") == 1


def test_numbers_that_begin_again_are_added_to_what_was() -> None:
    metrics, library = exported()
    for calls in (4, 1, 3):
        metrics.update(Readings({"calls": calls}))
    assert library.values["headrace_calls"] == {tags(): 7}


def test_a_gauge_is_set_and_one_that_is_left_out_stays() -> None:
    metrics, library = exported()
    metrics.update(Readings(gauges={("waiting", "a"): 3, ("waiting", "b"): 1}))
    metrics.update(Readings(gauges={("waiting", "a"): 0}))
    assert library.values["headrace_waiting"] == {tags(called="a"): 0, tags(called="b"): 1}


def test_histograms_of_several_labels_share_their_counters() -> None:
    metrics, library = exported()
    one, two = Histogram((1.0, 2.0)), Histogram((1.0, 2.0))
    one.observe(1.5, 3)
    two.observe(9.0)
    metrics.update(Readings(histograms={("step_seconds", "a"): one, ("step_seconds", "b"): two}))
    assert library.values["headrace_step_seconds_bucket"] == {
        tags(step="a", le="2"): 3,
        tags(step="a", le="+Inf"): 3,
        tags(step="b", le="+Inf"): 1,
    }
    assert library.values["headrace_step_seconds_count"] == {tags(step="a"): 3, tags(step="b"): 1}
    assert library.values["headrace_step_seconds_sum"][tags(step="a")] == 4.5
    assert sorted(set(library.made)) == sorted(library.made)
