"""``docs/metrics.md``, from the table of metrics: ``python -m headrace.observability.page``."""

import sys
from collections.abc import Iterable, Iterator, Sequence

from schemas.metrics import (
    AUTOSCALING,
    BATCHES,
    CALLS,
    EVENTS,
    GENERATORS,
    GPUS,
    LAG,
    PIPELINES,
    PUBLISHING,
    RECORDS,
    STATE,
    TIMES,
    VLLM,
    VOLUMES,
    Metric,
    VllmMetric,
)

_INTRODUCTION = """\
# Metrics

<!-- Written by `make docs` from schemas/metrics.py. -->

Ray exports metrics to Prometheus, from one port of each node. The consumers' have the label
`route`, the models' `model`; add up over replicas, which Ray tells apart by the label `WorkerId`. A
counter is missing until it first counts. No label has values that requests choose: not jobs,
tenants, keys or topics.

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

_LAG = """\
Gauges of a consumer, summed over its assigned partitions; a route's lag is the sum over its
consumers. The committed offset alone overstates what is left, because records finish out of order:
`lag_records` has what Kafka's tools show, `remaining_records` what is really to be done.

Logs' ends come with what is read, and are asked for every 5 s where nothing is. Offsets have gaps
(compaction, transactions), so both are upper bounds. How long the rest takes is not exported;
Prometheus divides:

    sum by (route) (ray_headrace_remaining_records)
      / sum by (route) (rate(ray_headrace_completed_records_total[5m]))

There are no series for single partitions: a topic may have thousands, and each would be one for
every consumer that ever had it. `headrace status --json` has them, as has any exporter of Kafka's
own lag.
"""

_MODELS = """\
Of a model's replicas, with the label `model`. What ran in 5 minutes, as shares:

    rate(ray_headrace_model_busy_seconds_total[5m])
    sum by (model) (rate(ray_headrace_model_padding_tokens_total[5m]))
      / sum by (model) (rate(ray_headrace_model_padding_tokens_total[5m])
        + rate(ray_headrace_model_tokens_total[5m]))

`model_busy_seconds` counts the time from a batch's start to its rows. With `parallel_batches` or a
GPU's streams several run at a time, and it is counted once.
"""

_VLLM = """\
vLLM's own statistics; `engine_args.disable_log_stats: true` turns them off. The label `model_name`
is the model's first served name, and `ReplicaId` names the replica. Counters count everything.
Histograms observe at most 200 requests a second in each replica, and one sequence of each step:
an observation takes time of the event loop that all records share.

vLLM exports more: <https://docs.vllm.ai/en/latest/usage/metrics.html>. Of names there, `:` is `_`
here, and `ray_` stands before.
"""

_GPUS = """\
Of the GPUs that Ray gave a replica, read every 5 s with NVML (`nvidia-ml-py`, which the image for
GPUs has). Replicas that share a GPU report the same. Ray has its own of each node, such as
`ray_node_gpus_utilization`.
"""

_SECTIONS: tuple[tuple[str, str, Sequence[Metric | VllmMetric]], ...] = (
    ("Records", "Counters of records.\n", RECORDS),
    ("Volumes", "What a consumer reads, and hands to models.\n", VOLUMES),
    ("Publishing", "What a consumer's sinks do.\n", PUBLISHING),
    ("Times", _TIMES, TIMES),
    ("State", "Gauges of a consumer.\n", STATE),
    ("Lag", _LAG, LAG),
    ("Events", "Counters of what is no record.\n", EVENTS),
    ("Models", _MODELS, CALLS),
    (
        "Batches",
        "Of embedders, classifiers and rerankers on any backend, and of batched custom classes.\n",
        BATCHES,
    ),
    ("Pipelines", "Of a pipeline's replicas, beside those of each model.\n", PIPELINES),
    (
        "Generators",
        "Of a generator's replicas, beside those of each model and of vLLM.\n",
        GENERATORS,
    ),
    ("vLLM", _VLLM, VLLM),
    ("GPUs", _GPUS, GPUS),
    (
        "Autoscaling",
        "Gauges of the last [decision](autoscaling.md), with the label `deployment`.\n",
        AUTOSCALING,
    ),
)


def metrics_page() -> str:
    sections = (
        f"## {title}\n\n{text}\n" + "\n".join(_table(metrics)) for title, text, metrics in _SECTIONS
    )
    return "\n\n".join([_INTRODUCTION.rstrip(), *sections]) + "\n"


def _table(metrics: Iterable[Metric | VllmMetric]) -> Iterator[str]:
    yield "| metric | is |"
    yield "|---|---|"
    for each in metrics:
        yield f"| `{each.exported}` | {each.help} |"


if __name__ == "__main__":
    sys.stdout.write(metrics_page())
