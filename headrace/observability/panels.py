"""What the dashboard shows: rows of panels, with the queries of their lines. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.observability.alerts.models import REPLICA_IS_HEALTHY, TARGET_REPLICAS
from schemas.metrics import metric, vllm_metric

WINDOW = "$__rate_interval"
ROUTES, MODELS = "$route", "$model"
_OF_ROUTE = f'{{route=~"{ROUTES}"}}'
_OF_MODEL = f'{{model=~"{MODELS}"}}'
_OF_MODELS = '{deployment=~"model-.*"}'


@dataclass(frozen=True, slots=True)
class Panel:
    """A diagram over time; ``queries`` are PromQL by the legend of their lines."""

    title: str
    unit: str
    queries: dict[str, str]


def panels() -> dict[str, tuple[Panel, ...]]:
    """Return the rows of panels, by their title."""
    return {
        "Records": _records(),
        "Lag": _lag(),
        "Times": _times(),
        "Consumers": _consumers(),
        "Sinks": _sinks(),
        "Models": _models(),
        "Generators": _generators(),
        "Pipelines": _pipelines(),
        "GPUs": _gpus(),
        "Autoscaling": _autoscaling(),
    }


def _records() -> tuple[Panel, ...]:
    return (
        Panel(
            "Outcomes",
            "ops",
            {
                "completed {{route}}": _rate("completed_records"),
                "answered {{route}}": _rate("answered_records"),
                "refused {{route}}": _rate("refused_records"),
                "expired {{route}}": _rate("expired_records"),
                "cancelled {{route}}": _rate("cancelled_records"),
            },
        ),
        Panel(
            "Failures",
            "ops",
            {
                "dead letters {{route}}": _rate("dead_letter_records"),
                "tried again {{route}}": _rate("retried_records"),
                "lost to retention {{route}}": _rate("lost_to_retention_records"),
            },
        ),
        Panel("Tokens a second", "ops", {"{{route}}": _rate("measured_tokens")}),
        Panel(
            "Bytes a second",
            "Bps",
            {
                "read {{route}}": _rate("received_bytes"),
                "published {{route}}": _rate("published_bytes"),
            },
        ),
    )


def _lag() -> tuple[Panel, ...]:
    remaining = _over("sum", "remaining_records")
    return (
        Panel(
            "Records left",
            "short",
            {
                "not complete {{route}}": remaining,
                "above the committed offset {{route}}": _over("sum", "lag_records"),
            },
        ),
        Panel("Oldest record", "s", {"{{route}}": _over("max", "lag_seconds")}),
        Panel(
            "Time for what is left",
            "s",
            {"{{route}}": f"{remaining} / ({_rate('completed_records')} > 0)"},
        ),
        Panel("Tokens left", "short", {"{{route}}": _over("sum", "remaining_tokens")}),
        Panel(
            "Completion map of the fullest partition",
            "percentunit",
            {"{{route}}": _over("max", "completion_map_ratio")},
        ),
        Panel(
            "Partitions whose map is full",
            "short",
            {"{{route}}": _over("sum", "full_map_partitions")},
        ),
    )


def _times() -> tuple[Panel, ...]:
    return (
        Panel("End to end", "s", _quantiles("end_to_end_seconds")),
        Panel(
            "Where the time goes (95 %)",
            "s",
            {
                "waiting {{route}}": _quantile("waiting_seconds", 0.95),
                "model {{route}}": _quantile("model_seconds", 0.95),
                "publishing {{route}}": _quantile("publishing_seconds", 0.95),
                "committing {{route}}": _quantile("committing_seconds", 0.95),
            },
        ),
        Panel(
            "Oldest record without an outcome",
            "s",
            {"{{route}}": _over("max", "oldest_record_seconds")},
        ),
    )


def _consumers() -> tuple[Panel, ...]:
    return (
        Panel(
            "Records in memory",
            "short",
            {
                "in flight {{route}}": _over("sum", "in_flight_records"),
                "queued {{route}}": _over("sum", "queued_records"),
                "held {{route}}": _over("sum", "held_records"),
            },
        ),
        Panel("Bytes in memory", "bytes", {"{{route}}": _over("sum", "held_bytes")}),
        Panel(
            "Standing still",
            "short",
            {
                "reading paused {{route}}": _over("sum", "admission_closed"),
                "model rests {{route}}": _over("sum", "breaker_open"),
                "rebalancing {{route}}": _over("sum", "suspended"),
            },
        ),
        Panel(
            "Share of time in which reading is paused",
            "percentunit",
            {"{{route}}": _rate("admission_closed_seconds", "max")},
        ),
        Panel("Records of a call", "short", _quantiles("chunk_records", (0.5, 0.95))),
        Panel(
            "Replicas and partitions",
            "short",
            {
                "consumers {{route}}": _over("count", "assigned_partitions"),
                "partitions {{route}}": _over("sum", "assigned_partitions"),
                "model replicas {{route}}": _over("max", "model_replicas"),
            },
        ),
        Panel(
            "Group",
            "ops",
            {
                "rebalances {{route}}": _rate("assignments"),
                "commits {{route}}": _rate("commits"),
                "refused commits {{route}}": _rate("refused_commits"),
            },
        ),
    )


def _sinks() -> tuple[Panel, ...]:
    return (
        Panel("Published", "ops", {"{{route}}": _rate("published_records")}),
        Panel(
            "Records of a batch",
            "short",
            _quantiles("published_batch_records", (0.5, 0.95)),
        ),
        Panel(
            "Sent again",
            "ops",
            {
                "batches {{route}}": _rate("publish_retries"),
                "producers replaced {{route}}": _rate("replaced_producers"),
            },
        ),
        Panel(
            "Transactions",
            "ops",
            {
                "committed {{route}}": _rate("committed_transactions"),
                "aborted {{route}}": _rate("aborted_transactions"),
            },
        ),
    )


def _models() -> tuple[Panel, ...]:
    busy = f"rate({_of_model('model_busy_seconds')}[{WINDOW}])"
    padding, tokens = _model_rate("model_padding_tokens"), _model_rate("model_tokens")
    return (
        Panel(
            "Healthy replicas",
            "short",
            {
                "healthy {{deployment}}": f"sum by (deployment) ({REPLICA_IS_HEALTHY}{_OF_MODELS})",
                "to run {{deployment}}": f"max by (deployment) ({TARGET_REPLICAS}{_OF_MODELS})",
            },
        ),
        Panel(
            "Records back",
            "ops",
            {"{{outcome}} {{model}}": _model_rate("model_records", "model, outcome")},
        ),
        Panel("Busy share of a replica", "percentunit", {"{{model}}": f"avg by (model) ({busy})"}),
        Panel(
            "Where a text's time goes (95 %)",
            "s",
            {
                "tokenizing {{model}}": _model_quantile("model_tokenizing_seconds", 0.95),
                "queue {{model}}": _model_quantile("model_queue_seconds", 0.95),
                "batch {{model}}": _model_quantile("model_batch_seconds", 0.95),
            },
        ),
        Panel(
            "Texts of a batch",
            "short",
            {
                f"{share:.0%} {{{{model}}}}": _model_quantile("model_batch_rows", share)
                for share in (0.5, 0.95)
            },
        ),
        Panel(
            "Tokens of a batch",
            "short",
            {
                "50% {{model}}": _model_quantile("model_batch_tokens", 0.5),
                "budget, with padding {{model}}": _model_over("max", "model_token_budget_tokens"),
            },
        ),
        Panel("Tokens a second", "ops", {"{{model}}": tokens}),
        Panel(
            "Share of padding",
            "percentunit",
            {"{{model}}": f"{padding} / ({tokens} + {padding})"},
        ),
        Panel(
            "Waiting, and in the replicas",
            "short",
            {
                "texts wait {{model}}": _model_over("sum", "model_waiting_texts"),
                "records in flight {{model}}": _model_over("sum", "model_in_flight_records"),
                "window {{model}}": _model_over("sum", "model_window_records"),
            },
        ),
        Panel(
            "Cut and split",
            "ops",
            {
                "truncated texts {{model}}": _model_rate("model_truncated_texts"),
                "batches out of memory {{model}}": _model_rate("model_split_batches"),
            },
        ),
    )


def _generators() -> tuple[Panel, ...]:
    queries, hits = _vllm_rate("prefix_cache_queries"), _vllm_rate("prefix_cache_hits")
    return (
        Panel(
            "Requests",
            "short",
            {
                "running {{model_name}}": _vllm_over("sum", "num_requests_running"),
                "waiting {{model_name}}": _vllm_over("sum", "num_requests_waiting"),
                "slots {{model}}": _model_over("sum", "generator_slots"),
            },
        ),
        Panel(
            "Tokens a second",
            "ops",
            {
                "read {{model_name}}": _vllm_rate("prompt_tokens"),
                "generated {{model_name}}": _vllm_rate("generation_tokens"),
            },
        ),
        Panel(
            "Times (95 %)",
            "s",
            {
                "first token {{model_name}}": _vllm_quantile("time_to_first_token_seconds"),
                "next token {{model_name}}": _vllm_quantile("inter_token_latency_seconds"),
                "queue {{model_name}}": _vllm_quantile("request_queue_time_seconds"),
            },
        ),
        Panel(
            "KV cache",
            "percentunit",
            {"{{model_name}}": _vllm_over("max", "kv_cache_usage_perc")},
        ),
        Panel(
            "Prompt tokens found in the prefix cache",
            "percentunit",
            {"{{model_name}}": f"{hits} / ({queries} > 0)"},
        ),
        Panel("Preemptions", "ops", {"{{model_name}}": _vllm_rate("num_preemptions")}),
    )


def _pipelines() -> tuple[Panel, ...]:
    steps = f"rate({_of_model('pipeline_step_seconds')}[{WINDOW}])"
    return (
        Panel(
            "Steps (95 %)",
            "s",
            {"{{step}} {{model}}": f"histogram_quantile(0.95, sum by (le, model, step) ({steps}))"},
        ),
        Panel(
            "Requests that wait for a model",
            "short",
            {
                "{{called}} {{model}}": "sum by (model, called) "
                f"({_of_model('pipeline_waiting_requests')})"
            },
        ),
    )


def _gpus() -> tuple[Panel, ...]:
    used, total = _of_model("gpu_memory_used_bytes"), _of_model("gpu_memory_total_bytes")
    return (
        Panel(
            "Use",
            "percentunit",
            {"{{model}}": _model_over("avg", "gpu_utilization_ratio")},
        ),
        Panel("Memory", "percentunit", {"{{model}}": f"max by (model) ({used} / {total})"}),
    )


def _autoscaling() -> tuple[Panel, ...]:
    return (
        Panel(
            "Replicas",
            "short",
            {
                "target {{deployment}}": _of_deployment("autoscaling_target"),
                "wanted {{deployment}}": _of_deployment("autoscaling_wanted"),
            },
        ),
        Panel(
            "Backlog",
            "short",
            {"{{deployment}}": _of_deployment("autoscaling_remaining_records")},
        ),
        Panel(
            "Time to drain",
            "s",
            {"{{deployment}}": f"{_of_deployment('autoscaling_remaining_s')} >= 0"},
        ),
    )


def _rate(name: str, aggregation: str = "sum") -> str:
    return f"{aggregation} by (route) (rate({metric(name).exported}{_OF_ROUTE}[{WINDOW}]))"


def _over(aggregation: str, name: str) -> str:
    return f"{aggregation} by (route) ({metric(name).exported}{_OF_ROUTE})"


def _of_deployment(name: str) -> str:
    return f"max by (deployment) ({metric(name).exported})"


def _quantile(name: str, share: float) -> str:
    buckets = f"{metric(name).exported}{_OF_ROUTE}[{WINDOW}]"
    return f"histogram_quantile({share:g}, sum by (le, route) (rate({buckets})))"


def _quantiles(name: str, shares: Sequence[float] = (0.5, 0.95, 0.99)) -> dict[str, str]:
    return {f"{share:.0%} {{{{route}}}}": _quantile(name, share) for share in shares}


def _of_model(name: str) -> str:
    return f"{metric(name).exported}{_OF_MODEL}"


def _model_over(aggregation: str, name: str) -> str:
    return f"{aggregation} by (model) ({_of_model(name)})"


def _model_rate(name: str, labels: str = "model") -> str:
    return f"sum by ({labels}) (rate({_of_model(name)}[{WINDOW}]))"


def _model_quantile(name: str, share: float) -> str:
    rate = f"rate({_of_model(name)}[{WINDOW}])"
    return f"histogram_quantile({share:g}, sum by (le, model) ({rate}))"


def _vllm_over(aggregation: str, name: str) -> str:
    return f"{aggregation} by (model_name) ({vllm_metric(name).exported})"


def _vllm_rate(name: str) -> str:
    return f"sum by (model_name) (rate({vllm_metric(name).exported}[{WINDOW}]))"


def _vllm_quantile(name: str, share: float = 0.95) -> str:
    rate = f"rate({vllm_metric(name).exported}[{WINDOW}])"
    return f"histogram_quantile({share:g}, sum by (le, model_name) ({rate}))"
