"""Alerts on what happens to a route's records. Pure."""

from collections.abc import Iterator

from headrace.observability.alerts.alert import Alert, Pace, Series
from schemas.settings.file import RouteSettings


def record_alerts(name: str, route: RouteSettings, pace: Pace) -> Iterator[Alert]:
    series, labels = Series("route", name, pace), {"route": name}
    completed = series.rate_or_none("completed_records")
    yield Alert(
        name="HeadraceDeadLetters",
        expr=f"{series.rate('dead_letter_records')} > 0.01 * {completed}",
        minutes=10,
        severity="warning",
        labels=labels,
        summary="over 1 % of the records end as dead letters",
    )
    yield Alert(
        name="HeadraceRetrying",
        expr=f"{series.rate('retried_records')} > 0.1 * {completed}",
        minutes=10,
        severity="warning",
        labels=labels,
        summary="over 10 % of the records are tried again: a model is failing or being lost",
    )
    yield Alert(
        name="HeadraceExpiring",
        expr=f"{series.rate('expired_records')} > 0.05 * {completed}",
        minutes=10,
        severity="warning",
        labels=labels,
        summary="over 5 % of the records pass their deadline before a model has time for them",
    )
    yield Alert(
        name="HeadraceRecordsLostToRetention",
        expr=series.counted("lost_to_retention_records", 60),
        minutes=0,
        severity="critical",
        labels=labels,
        summary=f"{route.requests_topic} deleted records before they were read",
    )
    yield from _backlog_alerts(route, series)


def _backlog_alerts(route: RouteSettings, series: Series) -> Iterator[Alert]:
    labels = {series.label: series.value}
    remaining = f"{series.sum('remaining_records')}[{series.pace.of(30)}:{series.pace.of(1)}]"
    yield Alert(
        name="HeadraceBacklogGrows",
        expr=f"min_over_time({remaining}) > 0 and deriv({remaining}) > 0",
        minutes=30,
        severity="warning",
        labels=labels,
        summary=f"the backlog of {route.requests_topic} has been growing for an hour: more comes "
        "in than the replicas do",
    )
    if (limit_s := route.alerts.lag_s) is not None:
        yield Alert(
            name="HeadraceLagTooLong",
            expr=f"max({series.of('lag_seconds')}) > {limit_s:g}",
            minutes=10,
            severity="warning",
            labels=labels,
            summary=f"records of {route.requests_topic} wait over {limit_s:g} s for their outcome",
        )
    if (limit_s := route.alerts.held_s) is not None:
        yield Alert(
            name="HeadraceRecordHeldTooLong",
            expr=f"max({series.of('oldest_record_seconds')}) > {limit_s:g}",
            minutes=5,
            severity="warning",
            labels=labels,
            summary=f"a record was read over {limit_s:g} s ago and has no outcome",
        )
    if (limit_s := route.alerts.end_to_end_p99_s) is not None:
        yield Alert(
            name="HeadraceSlow",
            expr=f"{series.quantile(0.99, 'end_to_end_seconds')} > {limit_s:g}",
            minutes=10,
            severity="warning",
            labels=labels,
            summary=f"one record in a hundred takes over {limit_s:g} s from end to end",
        )
