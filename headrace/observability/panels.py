"""The dashboard's panels: what each asks Prometheus for. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.observability.alerts.models import REPLICA_IS_HEALTHY, TARGET_REPLICAS
from schemas.metrics import metric, vllm_metric

WINDOW = "$__rate_interval"
ROUTES = "$route"
_OF_ROUTE = f'{{route=~"{ROUTES}"}}'
_QUANTILES = (0.5, 0.95, 0.99)
_MODELS = '{deployment=~"model-.*"}'


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
        "Models": _models(),
        "Autoscaling": _autoscaling(),
        "Generators (vLLM)": _generators(),
        "GPUs": _gpus(),
    }


def _records() -> tuple[Panel, ...]:
    return (
        Panel(
            "Outcomes",
            "ops",
            {
                "completed {{route}}": _rate("completed_records"),
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
    return (
        Panel(
            "Lag in records",
            "short",
            {
                "left {{route}}": _over("sum", "remaining_records"),
                "above the committed offset {{route}}": _over("sum", "lag_records"),
            },
        ),
        Panel("Lag in time", "s", {"{{route}}": _over("max", "lag_seconds")}),
        Panel("Lag in tokens", "short", {"{{route}}": _over("sum", "remaining_tokens")}),
        Panel(
            "Completion map, fullest partition",
            "percentunit",
            {"{{route}}": _over("max", "completion_map_ratio")},
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
                "aborted transactions {{route}}": _rate("aborted_transactions"),
            },
        ),
        Panel(
            "Publishing again",
            "ops",
            {
                "batches sent again {{route}}": _rate("publish_retries"),
                "producers replaced {{route}}": _rate("replaced_producers"),
            },
        ),
    )


def _models() -> tuple[Panel, ...]:
    padding, tokens = _model_rate("model_padding_tokens"), _model_rate("model_tokens")
    return (
        Panel(
            "Healthy replicas",
            "short",
            {
                "healthy {{deployment}}": f"sum by (deployment) ({REPLICA_IS_HEALTHY}{_MODELS})",
                "to run {{deployment}}": f"max by (deployment) ({TARGET_REPLICAS}{_MODELS})",
            },
        ),
        Panel(
            "Records by outcome",
            "ops",
            {"{{outcome}} {{model}}": _model_rate("model_records", "model, outcome")},
        ),
        Panel("Busy share", "percentunit", {"{{model}}": _model_rate("model_busy_seconds")}),
        Panel(
            "Rows of a batch",
            "short",
            {
                "half have at most {{model}}": _model_quantile("model_batch_rows", 0.5),
                "95 % have at most {{model}}": _model_quantile("model_batch_rows", 0.95),
            },
        ),
        Panel("Tokens computed a second", "ops", {"{{model}}": tokens}),
        Panel("Padding share", "percentunit", {"{{model}}": f"{padding} / ({padding} + {tokens})"}),
        Panel(
            "Where the model's time goes (95 %)",
            "s",
            {
                "tokenizing {{model}}": _model_quantile("model_tokenizing_seconds", 0.95),
                "waiting for a batch {{model}}": _model_quantile("model_queue_seconds", 0.95),
                "computing {{model}}": _model_quantile("model_batch_seconds", 0.95),
            },
        ),
        Panel(
            "Records in replicas",
            "short",
            {
                "in flight {{model}}": _of_model("sum", "model_in_flight_records"),
                "window {{model}}": _of_model("sum", "model_window_records"),
            },
        ),
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
            "Backlog", "short", {"{{deployment}}": _of_deployment("autoscaling_remaining_records")}
        ),
        Panel(
            "Time to drain",
            "s",
            {"{{deployment}}": f"{_of_deployment('autoscaling_remaining_s')} >= 0"},
        ),
    )


def _generators() -> tuple[Panel, ...]:
    hits, queries = _vllm_rate("prefix_cache_hits"), _vllm_rate("prefix_cache_queries")
    return (
        Panel(
            "Requests",
            "short",
            {
                "running {{model_name}}": _of_vllm("sum", "num_requests_running"),
                "waiting {{model_name}}": _of_vllm("sum", "num_requests_waiting"),
            },
        ),
        Panel(
            "Tokens of generators a second",
            "ops",
            {
                "read {{model_name}}": _vllm_rate("prompt_tokens"),
                "generated {{model_name}}": _vllm_rate("generation_tokens"),
            },
        ),
        Panel(
            "KV cache in use",
            "percentunit",
            {"{{model_name}}": _of_vllm("max", "kv_cache_usage_perc")},
        ),
        Panel(
            "First token, and each next one (95 %)",
            "s",
            {
                "first {{model_name}}": _vllm_quantile("time_to_first_token_seconds"),
                "next {{model_name}}": _vllm_quantile("inter_token_latency_seconds"),
                "waiting for a slot {{model_name}}": _vllm_quantile("request_queue_time_seconds"),
            },
        ),
        Panel("Prefix cache hits", "percentunit", {"{{model_name}}": f"{hits} / {queries}"}),
        Panel(
            "Begun again for want of memory",
            "ops",
            {"{{model_name}}": _vllm_rate("num_preemptions")},
        ),
    )


def _gpus() -> tuple[Panel, ...]:
    used, total = metric("gpu_memory_used_bytes"), metric("gpu_memory_total_bytes")
    return (
        Panel(
            "GPU use",
            "percentunit",
            {
                "{{model}} {{gpu}}": f"max by (model, gpu) "
                f"({metric('gpu_utilization_ratio').exported})"
            },
        ),
        Panel(
            "GPU memory",
            "percentunit",
            {"{{model}} {{gpu}}": f"max by (model, gpu) ({used.exported} / {total.exported})"},
        ),
    )


def _rate(name: str) -> str:
    return f"sum by (route) (rate({metric(name).exported}{_OF_ROUTE}[{WINDOW}]))"


def _over(aggregation: str, name: str) -> str:
    return f"{aggregation} by (route) ({metric(name).exported}{_OF_ROUTE})"


def _quantile(name: str, share: float) -> str:
    buckets = f"{metric(name).exported}{_OF_ROUTE}[{WINDOW}]"
    return f"histogram_quantile({share:g}, sum by (le, route) (rate({buckets})))"


def _quantiles(name: str, shares: Sequence[float] = _QUANTILES) -> dict[str, str]:
    return {f"{share:.0%} {{{{route}}}}": _quantile(name, share) for share in shares}


def _model_rate(name: str, by: str = "model") -> str:
    return f"sum by ({by}) (rate({metric(name).exported}[{WINDOW}]))"


def _of_model(aggregation: str, name: str) -> str:
    return f"{aggregation} by (model) ({metric(name).exported})"


def _model_quantile(name: str, share: float) -> str:
    buckets = f"{metric(name).exported}[{WINDOW}]"
    return f"histogram_quantile({share:g}, sum by (le, model) (rate({buckets})))"


def _of_deployment(name: str) -> str:
    return f"max by (deployment) ({metric(name).exported})"


def _of_vllm(aggregation: str, name: str) -> str:
    return f"{aggregation} by (model_name) ({vllm_metric(name).exported})"


def _vllm_rate(name: str) -> str:
    return f"sum by (model_name) (rate({vllm_metric(name).exported}[{WINDOW}]))"


def _vllm_quantile(name: str, share: float = 0.95) -> str:
    buckets = f"{vllm_metric(name).exported}[{WINDOW}]"
    return f"histogram_quantile({share:g}, sum by (le, model_name) (rate({buckets})))"
