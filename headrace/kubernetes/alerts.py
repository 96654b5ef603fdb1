"""Prometheus alerts on what a settings file's routes must guarantee. Pure.

Metrics are those of ``schemas.metrics``, and the lag that Strimzi's Kafka Exporter reads.
``docs/runbooks.md`` says for each alert what to look at and what to do.
"""

from typing import Any

from headrace.kubernetes.names import StrimziCluster
from headrace.kubernetes.policies.monitoring import monitoring_labels
from schemas.metrics import metric
from schemas.settings.file import RouteSettings, Settings

_BACKLOG_MINUTES = 30
_RUNBOOKS = "docs/runbooks.md"


def prometheus_rule(settings: Settings, cluster: StrimziCluster | None) -> dict[str, Any]:
    """Return the ``PrometheusRule``: a group of alerts for each route.

    Without a Strimzi cluster nothing exports the lag, so that nothing alerts on it.
    """
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "headrace",
            "labels": monitoring_labels(settings.kubernetes.monitoring),
        },
        "spec": {
            "groups": [
                {
                    "name": f"headrace-{name}",
                    "rules": [*_route_alerts(name, route), *_lag_alerts(name, route, cluster)],
                }
                for name, route in settings.routes.items()
            ]
        },
    }


def _route_alerts(name: str, route: RouteSettings) -> list[dict[str, Any]]:
    completed = _rate("completed_records", name, "10m")
    held = f"{_gauge('in_flight_records', name)} + {_gauge('queued_records', name)}"
    return [
        _alert(
            "HeadraceNotReporting",
            f"absent({_series('assigned_partitions', name)})",
            minutes=5,
            severity="critical",
            route=name,
            summary="no consumer replica reports",
        ),
        _alert(
            "HeadracePartitionsUnassigned",
            f"{_gauge('assigned_partitions', name)} < {route.topics.partitions}",
            minutes=5,
            severity="critical",
            route=name,
            summary=f"fewer than {route.topics.partitions} partitions of {route.requests_topic} "
            "are held by a consumer; the others wait",
        ),
        _alert(
            "HeadraceStalled",
            # A counter is missing until it first counts; `unless` treats that as none.
            f"({held}) > 0 unless {completed} > 0",
            minutes=15,
            severity="critical",
            route=name,
            summary="records are held, and none was completed for 10 minutes",
        ),
        _alert(
            "HeadraceDeadLetters",
            f"{_rate('dead_letter_records', name, '10m')} > 0.01 * {completed}",
            minutes=10,
            severity="warning",
            route=name,
            summary="over 1 % of the records end as dead letters",
        ),
        _alert(
            "HeadraceRetrying",
            f"{_rate('retried_records', name, '10m')} > 0.1 * {completed}",
            minutes=10,
            severity="warning",
            route=name,
            summary="over 10 % of the records are tried again: a model is failing or being lost",
        ),
        _alert(
            "HeadraceExpiring",
            f"{_rate('expired_records', name, '10m')} > 0.05 * {completed}",
            minutes=10,
            severity="warning",
            route=name,
            summary="over 5 % of the records pass their deadline before a model has time for them",
        ),
        _alert(
            "HeadraceModelFailing",
            f"max({_series('breaker_open', name)}) > 0",
            minutes=5,
            severity="critical",
            route=name,
            summary=f"model {route.model} fails, so that it is called once in a while only",
        ),
        _alert(
            "HeadraceRebalancing",
            f"max({_series('suspended', name)}) > 0",
            minutes=5,
            severity="warning",
            route=name,
            summary=f"a consumer of group {route.group} has waited 5 minutes for the group",
        ),
        _alert(
            "HeadraceCommitsRefused",
            f"{_rate('refused_commits', name, '10m')} > 0 or "
            f"{_rate('aborted_transactions', name, '10m')} > 0",
            minutes=15,
            severity="warning",
            route=name,
            summary="the group refuses commits or transactions: consumers lose their membership",
        ),
        _alert(
            "HeadraceRecordsLostToRetention",
            f"increase({_series('lost_to_retention_records', name)}[1h]) > 0",
            minutes=0,
            severity="critical",
            route=name,
            summary=f"{route.requests_topic} deleted records before they were read",
        ),
    ]


def _lag_alerts(
    name: str, route: RouteSettings, cluster: StrimziCluster | None
) -> list[dict[str, Any]]:
    if cluster is None:
        return []
    lag = (
        f'sum(kafka_consumergroup_lag{{consumergroup="{route.group}",'
        f'topic="{route.requests_topic}"}})'
    )
    return [
        _alert(
            "HeadraceBacklogGrows",
            f"min_over_time(({lag})[{_BACKLOG_MINUTES}m:1m]) > 0 and "
            f"deriv(({lag})[{_BACKLOG_MINUTES}m:1m]) > 0",
            minutes=_BACKLOG_MINUTES,
            severity="warning",
            route=name,
            summary=f"the backlog of {route.requests_topic} has been growing for an hour: "
            "more comes in than the replicas do",
        )
    ]


def _series(name: str, route: str) -> str:
    return f'{metric(name).exported}{{route="{route}"}}'


def _gauge(name: str, route: str) -> str:
    return f"sum({_series(name, route)})"


def _rate(counter: str, route: str, window: str) -> str:
    return f"sum(rate({_series(counter, route)}[{window}]))"


def _alert(
    alert: str, expr: str, *, minutes: int, severity: str, route: str, summary: str
) -> dict[str, Any]:
    return {
        "alert": alert,
        "expr": expr,
        "for": f"{minutes}m",
        "labels": {"severity": severity, "route": route},
        "annotations": {
            "summary": f"{route}: {summary}",
            "runbook": f"{_RUNBOOKS}#{alert.lower()}",
        },
    }
