"""``docs/metrics.md``, from the table of metrics: ``python -m headrace.observability.page``."""

import sys
from collections.abc import Iterable, Iterator

from schemas.metrics import AUTOSCALING, EVENTS, RECORDS, STATE, TIMES, TRACING, Metric

_INTRODUCTION = """\
# Metrics

<!-- Written by `make docs` from schemas/metrics.py. -->

Ray exports metrics to Prometheus, from one port of each node. The consumers' have the label
`route`; add up over replicas. A counter is missing until it first counts.

A Ray that `headrace up` starts has no fixed metrics port and no dashboard. For production start Ray
first (`ray start --head --metrics-export-port=8080`); `headrace up` joins it. `headrace up --json`
and `headrace status --json` give the same counts without Prometheus, under `routes.NAME.service`.

`headrace render grafana` prints a [Grafana](https://grafana.com) dashboard of these metrics. The
[alerts](runbooks.md) use them too.
"""

_TIMES = """\
Histograms, in seconds. Ray's own histograms cost a call for each value, so these are counters:
`_bucket_total` with the label `le`, `_sum_total` and `_count_total`. `histogram_quantile` takes
them as they are:

    histogram_quantile(
      0.99, sum by (le, route) (rate(ray_headrace_end_to_end_seconds_bucket_total[5m])))
"""

_SECTIONS: tuple[tuple[str, str, tuple[Metric, ...]], ...] = (
    ("Records", "Counters of records.\n", RECORDS),
    ("Times", _TIMES, TIMES),
    ("State", "Gauges of a consumer.\n", STATE),
    ("Events", "Counters of what is no record.\n", EVENTS),
    (
        "Autoscaling",
        "Gauges of the last [decision](autoscaling.md), with the label `deployment`.\n",
        AUTOSCALING,
    ),
    ("Traces", "Counters of replicas that trace, with the label `outcome`.\n", TRACING),
)


def metrics_page() -> str:
    sections = (
        f"## {title}\n\n{text}\n" + "\n".join(_table(metrics)) for title, text, metrics in _SECTIONS
    )
    return "\n\n".join([_INTRODUCTION.rstrip(), *sections]) + "\n"


def _table(metrics: Iterable[Metric]) -> Iterator[str]:
    yield "| metric | is |"
    yield "|---|---|"
    for each in metrics:
        yield f"| `{each.exported}` | {each.help} |"


if __name__ == "__main__":
    sys.stdout.write(metrics_page())
