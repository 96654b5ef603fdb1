"""Alerts on a route's consumers: that they are there, hold the partitions, and get on. Pure."""

from collections.abc import Iterator

from headrace.observability.alerts.alert import Alert, Pace, Series
from schemas.settings.file import RouteSettings


def consumer_alerts(name: str, route: RouteSettings, pace: Pace) -> Iterator[Alert]:
    series, labels = Series("route", name, pace), {"route": name}
    yield Alert(
        name="HeadraceNotReporting",
        expr=f"absent({series.of('assigned_partitions')})",
        minutes=5,
        severity="critical",
        labels=labels,
        summary="no consumer replica reports",
    )
    least = route.consumers if route.autoscaling is None else route.autoscaling.min_replicas
    yield Alert(
        name="HeadraceConsumersMissing",
        expr=f"count({series.of('assigned_partitions')}) < {least}",
        minutes=10,
        severity="warning",
        labels=labels,
        summary=f"fewer consumers report than the {least} that the settings ask for",
    )
    yield Alert(
        name="HeadracePartitionsUnassigned",
        expr=f"{series.sum('assigned_partitions')} < {route.topics.partitions} "
        f"unless max({series.of('paused_seconds')}) > 0",
        minutes=5,
        severity="critical",
        labels=labels,
        summary=f"fewer than {route.topics.partitions} partitions of {route.requests_topic} "
        "are held by a consumer; the others wait",
    )
    yield Alert(
        name="HeadraceRebalancing",
        expr=f"max({series.of('suspended')}) > 0",
        minutes=5,
        severity="warning",
        labels=labels,
        summary=f"a consumer of group {route.group} has waited 5 minutes for the group",
    )
    if (limit_s := route.alerts.paused_s) is not None:
        yield Alert(
            name="HeadracePausedLong",
            expr=f"max({series.of('paused_seconds')}) > {limit_s:g}",
            minutes=0,
            severity="warning",
            labels=labels,
            summary=f"a person paused the route over {limit_s:g} s ago, and its records wait",
        )
    yield from _stall_alerts(series)
    yield from _commit_alerts(route, series)


def _stall_alerts(series: Series) -> Iterator[Alert]:
    labels = {series.label: series.value}
    waiting = f"({series.sum('held_records')} > 0 or {series.sum('remaining_records')} > 0)"
    yield Alert(
        name="HeadraceStalled",
        # `unless` takes a counter that is missing, as it has not counted yet, for none.
        expr=f"{waiting} unless {series.rate('completed_records')} > 0",
        minutes=15,
        severity="critical",
        labels=labels,
        summary="records wait, and none was completed for 10 minutes",
    )
    yield Alert(
        name="HeadraceCompletionMapFull",
        expr=f"{series.sum('full_map_partitions')} > 0",
        minutes=15,
        severity="warning",
        labels=labels,
        summary="a partition is not read: too much is complete beyond its oldest record",
    )
    # A full consumer is ordinary where the model is the limit. Its records are then with the model
    # or in the queue before it.
    at_the_model = f"{series.sum('in_flight_records')} + {series.sum('queued_records')}"
    yield Alert(
        name="HeadraceReadingPaused",
        expr=f"min({series.of('admission_closed')}) > 0 "
        f"and ({at_the_model}) < 0.5 * {series.sum('held_records')}",
        minutes=15,
        severity="warning",
        labels=labels,
        summary="reading is paused, as what is held waits for something other than the model",
    )


def _commit_alerts(route: RouteSettings, series: Series) -> Iterator[Alert]:
    labels = {series.label: series.value}
    yield Alert(
        name="HeadraceCommitsRefused",
        expr=f"{series.rate('refused_commits')} > 0",
        minutes=15,
        severity="warning",
        labels=labels,
        summary="the group refuses commits: consumers lose their membership",
    )
    if route.delivery == "exactly_once":
        yield Alert(
            name="HeadraceTransactionsAborted",
            expr=f"{series.rate('aborted_transactions')} > 0",
            minutes=15,
            severity="warning",
            labels=labels,
            summary="transactions are aborted again and again, and their work is done twice",
        )
    if (limit_s := route.alerts.commit_p99_s) is not None:
        yield Alert(
            name="HeadraceCommitsSlow",
            expr=f"{series.quantile(0.99, 'committing_seconds')} > {limit_s:g}",
            minutes=10,
            severity="warning",
            labels=labels,
            summary=f"one commit in a hundred takes over {limit_s:g} s",
        )
    if (limit_s := route.alerts.publish_p95_s) is not None:
        yield Alert(
            name="HeadracePublishingSlow",
            expr=f"{series.quantile(0.95, 'publishing_seconds')} > {limit_s:g}",
            minutes=10,
            severity="warning",
            labels=labels,
            summary=f"one outcome in twenty waits over {limit_s:g} s for the brokers",
        )
