"""``flat-deadlines``: like ``flat``, with headers and with deadlines long after the drain."""

from functools import partial

from benchmarks.cases import flat
from benchmarks.harness import Bar
from benchmarks.registry import Benchmark

DEADLINE_IN_S = 3600.0
"""Longer than any drain takes: what is kept until the deadline stays."""

BENCHMARK = Benchmark(
    name="flat-deadlines",
    subject="a record of the longest backlog, due in an hour, with headers",
    baseline="a record of the shortest",
    unit="µs of consumer CPU",
    bar=Bar(1.2, "at most"),
    aim=None,
    run=partial(flat.run, deadline_in_s=DEADLINE_IN_S),
)
