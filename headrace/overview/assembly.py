"""Assembles the overview from what was gathered. Pure."""

from collections.abc import Sequence
from dataclasses import fields, replace

from consumer.autoscaling.lag import seconds_left, tokens_left
from consumer.replica.reports import ReplicaSnapshot, RouteStatus
from headrace.overview.facts import DeploymentFacts, Facts
from headrace.overview.history import LONG_WINDOW_S, SHORT_WINDOW_S, latency_of, summed
from headrace.overview.known import KnownModel, KnownRoute
from headrace.overview.snapshot import (
    Consumer,
    DeploymentOverview,
    Held,
    JobOverview,
    Lag,
    Latencies,
    ModelOverview,
    Overview,
    PartitionOverview,
    ReasonCode,
    Replicas,
    RouteOverview,
    Totals,
)
from headrace.overview.standing import RouteStanding
from headrace.overview.wait_codes import code_of
from headrace.service.applications import consumer_deployment_name, model_deployment_name
from headrace.status.partition_lag import PartitionLag
from headrace_client.registry.announcements import Counts
from headrace_client.registry.standing import JobStanding

MOST_MEMBERS = 32
"""Consumers that a route lists; the numbers of all are in its sums."""
MOST_JOBS = 50
MOST_FINISHED_JOBS = 5


def assemble(facts: Facts) -> Overview:
    deployments = facts.deployments or {}
    return Overview(
        at_ms=facts.at_ms,
        routes=[_route(each, facts) for each in facts.known.routes],
        models=[_model(each, facts) for each in facts.known.models],
        deployments=[
            DeploymentOverview(name=name, why=each.lack)
            for name, each in sorted(deployments.items())
            if each.lack is not None
        ],
        jobs=_jobs(facts.jobs or (), facts.at_ms),
        unanswered=list(facts.unanswered),
    )


def lag_of(partitions: Sequence[PartitionLag]) -> Lag | None:
    """Return the sums of a topic's partitions; ``None`` without any: the topic is missing."""
    if not partitions:
        return None
    largest = max(partitions, key=lambda each: each.lag_records)
    return Lag(
        committed_records=sum(map(_behind_commit, partitions)),
        left_records=sum(each.lag_records for each in partitions),
        blocked_records=sum(each.blocked_records for each in partitions),
        partitions=len(partitions),
        largest_partition=largest.partition if largest.lag_records else None,
        largest_partition_records=largest.lag_records,
    )


def partitions_of(
    partitions: Sequence[PartitionLag], live: Sequence[ReplicaSnapshot]
) -> list[PartitionOverview]:
    """Return one route's partitions in order, with the consumers that have them."""
    owners = {number: each.replica for each in live for number in each.partitions}
    return [
        PartitionOverview(
            partition=each.partition,
            log_start=each.log_start,
            log_end=each.log_end,
            committed=each.committed,
            left_records=each.lag_records,
            blocked_records=each.blocked_records,
            basis=each.basis,
            replica=owners.get(each.partition),
        )
        for each in partitions
    ]


def _behind_commit(lag: PartitionLag) -> int:
    if lag.committed is None:
        return lag.lag_records
    return max(0, lag.log_end - max(lag.committed, lag.log_start))


def _route(route: KnownRoute, facts: Facts) -> RouteOverview:
    standing = RouteStanding(route, facts)
    state, reasons = standing.state_and_reasons()
    consumers, live = facts.consumers, standing.live
    status = None if consumers is None else consumers.totals.get(route.name)
    history = None if consumers is None else consumers.histories.get(route.name)
    now_s = 0.0 if consumers is None else consumers.now_s
    latencies = Latencies()
    if history is not None:
        latencies = Latencies(
            waiting=latency_of(history.counts("waiting", now_s)),
            model=latency_of(history.counts("model", now_s)),
            end_to_end=latency_of(history.counts("end_to_end", now_s)),
        )
    return RouteOverview(
        name=route.name,
        requests_topic=route.requests_topic,
        results_topic=route.results_topic,
        dead_letters_topic=route.dead_letters_topic,
        group=route.group,
        model=route.model,
        delivery=route.delivery,
        state=state,
        reasons=reasons,
        lag=_with_times(standing.lag, status),
        quiet_s=standing.quiet_s,
        latest=None if history is None else history.rates(SHORT_WINDOW_S, now_s),
        minute=None if history is None else history.rates(LONG_WINDOW_S, now_s),
        latency=latencies,
        held=_held(live),
        totals=_totals(status),
        breaker_open_consumers=sum(each.is_breaker_open for each in live),
        assigned_partitions=len({number for each in live for number in each.partitions}),
        consumers=_replicas(standing.deployment, len(live) if consumers is not None else None),
        scaling=facts.decisions.get(consumer_deployment_name(route.name)),
        members=_members(live),
    )


def _with_times(lag: Lag | None, status: RouteStatus | None) -> Lag | None:
    if lag is None or status is None:
        return lag
    return replace(
        lag,
        left_s=seconds_left(lag.left_records, status.working_records_per_s),
        left_tokens=tokens_left(lag.left_records, status.tokens_per_record),
    )


def _replicas(deployment: DeploymentFacts | None, reporting: int | None) -> Replicas:
    return Replicas(running=reporting) if deployment is None else deployment.replicas


def _held(live: Sequence[ReplicaSnapshot]) -> Held:
    closed_s = [each.admission_closed_s for each in live if each.admission_closed_s is not None]
    return Held(
        in_flight_records=sum(each.in_flight_records for each in live),
        queued_records=sum(each.queued_records for each in live),
        records=sum(each.held_records for each in live),
        # 0: consumers of a release that does not say so.
        most_records=sum(each.most_records for each in live) or None,
        bytes=sum(each.held_bytes for each in live),
        most_bytes=sum(each.most_bytes for each in live) or None,
        oldest_s=max((each.oldest_s for each in live if each.held_records), default=None),
        admission_closed_s=max(closed_s, default=None),
    )


def _totals(status: RouteStatus | None) -> Totals:
    if status is None:
        return Totals()
    return Totals(**{each.name: getattr(status, each.name) for each in fields(Totals)})


def _members(live: Sequence[ReplicaSnapshot]) -> list[Consumer]:
    def trouble(each: ReplicaSnapshot) -> tuple[bool, bool, bool, str]:
        return (not each.error, not each.is_breaker_open, not each.is_suspended, each.replica)

    return [
        Consumer(
            replica=each.replica,
            state=_state_of(each),
            partitions=len(each.partitions),
            in_flight_records=each.in_flight_records,
            queued_records=each.queued_records,
            held_records=each.held_records,
            held_bytes=each.held_bytes,
            is_breaker_open=each.is_breaker_open,
            error=each.error,
        )
        for each in sorted(live, key=trouble)[:MOST_MEMBERS]
    ]


def _state_of(snapshot: ReplicaSnapshot) -> str:
    if snapshot.error:
        return "failed"
    if any(code_of(line)[0] is ReasonCode.PAUSED for line in snapshot.waits):
        return "paused"
    if snapshot.is_suspended:
        return "suspended"
    return "reading" if snapshot.admission_closed_s is None else "full"


def _model(model: KnownModel, facts: Facts) -> ModelOverview:
    name = model_deployment_name(model.name)
    deployment = (facts.deployments or {}).get(name)
    callers = [each.name for each in facts.known.routes if each.model == model.name]
    consumers = facts.consumers
    live: list[ReplicaSnapshot] = []
    rate: float | None = None
    counts: list[Sequence[int]] = []
    if consumers is not None:
        live = [each for route in callers for each in consumers.live.get(route, ())]
        histories = [
            consumers.histories[route] for route in callers if route in consumers.histories
        ]
        rates = [each.rates(SHORT_WINDOW_S, consumers.now_s) for each in histories]
        known = [each.completed_records_per_s for each in rates if each is not None]
        rate = sum(known) if known else None
        counts = [each.counts("model", consumers.now_s) for each in histories]
    return ModelOverview(
        name=model.name,
        kind=model.kind,
        source=model.source,
        routes=list(model.routes),
        replicas=Replicas() if deployment is None else deployment.replicas,
        why_not=None if deployment is None else deployment.lack,
        scaling=facts.decisions.get(name),
        runs_on=list(facts.runs_on.get(model.name, ())),
        in_flight_records=sum(each.in_flight_records for each in live),
        window_records=sum(each.window_records for each in live) or None,
        completed_records_per_s=rate,
        latency=latency_of(summed(counts)),
    )


def _jobs(jobs: Sequence[JobStanding], now_ms: int) -> list[JobOverview]:
    known = [each for each in jobs if not each.is_forgotten(now_ms)]
    running = [each for each in known if not each.announcement.is_finished]
    finished = [each for each in known if each.announcement.is_finished]
    finished.sort(key=lambda each: -each.announcement.updated_at_ms)
    return [_job(each, now_ms) for each in (*running[:MOST_JOBS], *finished[:MOST_FINISHED_JOBS])]


def _job(standing: JobStanding, now_ms: int) -> JobOverview:
    job = standing.announcement
    unit, counts = _counted(standing)
    silent_since_ms = standing.silent_since_ms(now_ms)
    eta_s = None
    if job.eta_s is not None and not job.is_finished:
        eta_s = max(0.0, job.eta_s - (now_ms - job.updated_at_ms) / 1000)
    return JobOverview(
        name=job.job,
        kind=job.kind,
        state="cancelling" if standing.is_cancelling else str(job.state),
        route=job.route,
        description=job.description,
        user=f"{job.user}@{job.host}" if job.host else job.user,
        unit=unit,
        total=counts.total,
        done=counts.done,
        failed=counts.failed,
        rate_per_s=job.rate_per_s,
        tokens_per_s=job.tokens_per_s,
        eta_s=eta_s,
        started_at_ms=job.started_at_ms,
        deadline_ms=job.deadline_ms,
        silent_s=None if silent_since_ms is None else (now_ms - silent_since_ms) / 1000,
        is_finished=job.is_finished,
        waits_for=list(job.waits_for),
    )


def _counted(standing: JobStanding) -> tuple[str, Counts]:
    job = standing.announcement
    for unit, counts in (("rows", job.rows), ("items", job.items), ("requests", job.requests)):
        if counts is not None:
            return unit, counts
    return "rows", Counts()
