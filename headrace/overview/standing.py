"""How a route stands and what it waits for. Pure."""

from collections.abc import Iterator, Sequence

from consumer.engine.waiting.waits import merged, subject
from consumer.replica.reports import ReplicaSnapshot
from headrace.overview.facts import ConsumerFacts, DeploymentFacts, Facts
from headrace.overview.history import RouteHistory
from headrace.overview.known import KnownRoute
from headrace.overview.snapshot import Lag, Reason, ReasonCode, RouteState
from headrace.overview.wait_codes import code_of
from headrace.service.applications import consumer_deployment_name, model_deployment_name
from headrace.service.deployment_lines import failure_line

QUIET_S = 10.0
"""A route that has completed something since does not stand still."""
UNEXPLAINED_S = 30.0
"""Work that nothing is known to hold up may lie about for so long."""
UNANSWERED_S = 300.0
"""The same of work that a model has: one record may take minutes."""
HEARD_WITHIN_S = 10.0
"""A board that has run for less may not have heard of every consumer yet."""

_ORDER = list(ReasonCode)
_STATES = {
    ReasonCode.PAUSED: RouteState.PAUSED,
    ReasonCode.STOPPING: RouteState.DRAINING,
    ReasonCode.STARTING: RouteState.STARTING,
}
_CANNOT_READ = frozenset(
    {
        ReasonCode.NOT_DEPLOYED,
        ReasonCode.NO_CONSUMER,
        ReasonCode.CONSUMER_FAILED,
        ReasonCode.TOPIC_MISSING,
        ReasonCode.BROKERS_SILENT,
        ReasonCode.NO_PARTITION,
        ReasonCode.REBALANCING,
    }
)
"""With one of these a route stands still although there is nothing to do: it could not begin."""


class RouteStanding:
    """One route's facts, and the rules on them."""

    def __init__(self, route: KnownRoute, facts: Facts) -> None:
        self._route = route
        self._facts = facts
        self._consumers = facts.consumers
        live = () if facts.consumers is None else facts.consumers.live.get(route.name, ())
        self.live: Sequence[ReplicaSnapshot] = live
        self.deployment = self._deployment(consumer_deployment_name(route.name))
        self.lag: Lag | None = facts.lags.get(route.name)

    @property
    def quiet_s(self) -> float | None:
        """For how long nothing was completed; ``None`` where no consumer has reported."""
        history = self._history
        if history is None or self._consumers is None:
            return None
        return history.quiet_s(self._consumers.now_s)

    def state_and_reasons(self) -> tuple[RouteState, list[Reason]]:
        """Return how the route stands and why; only one that runs may have no reason."""
        if self._consumers is None:
            why = self._facts.no_service or "no service answers"
            return RouteState.UNKNOWN, [Reason(code=ReasonCode.NO_SERVICE, text=why)]
        if (pause := self._facts.paused.get(self._route.name)) is not None:
            return RouteState.PAUSED, [Reason(code=ReasonCode.PAUSED, text=pause)]
        reasons = self._ordered([*self._of_deployment(self._consumers), *self._of_consumers()])
        state = self._state(reasons)
        if state is RouteState.PAUSED:
            # What else is wrong shows once it goes on; it would only distract now.
            return state, reasons[:1]
        if state is None:
            unexplained = self._unexplained(self.quiet_s or 0.0)
            if unexplained is None:
                return RouteState.RUNNING, []
            return RouteState.STANDING_STILL, [unexplained]
        return state, reasons

    def _state(self, reasons: Sequence[Reason]) -> RouteState | None:
        """Return the state by what is known to be in the way; ``None``: there is work, and nothing.

        The gravest reason is the first.
        """
        if reasons and reasons[0].blocks and reasons[0].code in _STATES:
            return _STATES[reasons[0].code]
        if self._has_completed_lately:
            return RouteState.RUNNING
        if any(each.blocks and each.code in _CANNOT_READ for each in reasons):
            return RouteState.STANDING_STILL
        if not self._has_work:
            return RouteState.RUNNING
        return RouteState.STANDING_STILL if reasons else None

    @property
    def _history(self) -> RouteHistory | None:
        consumers = self._consumers
        return None if consumers is None else consumers.histories.get(self._route.name)

    @property
    def _has_completed_lately(self) -> bool:
        quiet_s = self.quiet_s
        history = self._history
        return history is not None and history.has_progressed and (quiet_s or 0.0) < QUIET_S

    @property
    def _has_work(self) -> bool:
        held = any(each.held_records or each.queued_records for each in self.live)
        return held or bool(self.lag and self.lag.left_records)

    def _deployment(self, name: str) -> DeploymentFacts | None:
        deployments = self._facts.deployments
        return None if deployments is None else deployments.get(name)

    def _of_deployment(self, consumers: ConsumerFacts) -> Iterator[Reason]:
        deployment, name = self.deployment, self._route.name
        if deployment is None and self._facts.deployments is not None:
            yield Reason(
                code=ReasonCode.NOT_DEPLOYED,
                text=f"route {name} is not deployed: `headrace up` deploys what the settings have",
            )
            return
        if deployment is not None and deployment.is_stopping:
            held = sum(each.held_records for each in self.live)
            text = f"it is being stopped: {held:,} records that it holds are finished first"
            yield Reason(code=ReasonCode.STOPPING, text=text)
            return
        if self.live:
            return
        if deployment is not None and deployment.running and consumers.up_s >= HEARD_WITHIN_S:
            yield Reason(
                code=ReasonCode.NO_CONSUMER,
                text=f"{deployment.running} consumers run and none has reported for "
                f"{HEARD_WITHIN_S:.0f} s: see their logs (`ray logs`, or the pods')",
            )
        elif deployment is not None and deployment.running:
            text = "the status board has just started: no consumer has reported to it yet"
            yield Reason(code=ReasonCode.STARTING, text=text)
        elif deployment is None:
            text = "no consumer reports, and Serve does not say how many run"
            yield Reason(code=ReasonCode.NO_CONSUMER, text=text)
        elif _is_starting(deployment):
            waits = failure_line(deployment.message) or "its first consumer is starting"
            yield Reason(code=ReasonCode.STARTING, text=waits)
        else:
            text = f"no consumer runs: {deployment.lack or 'none is to run: raise consumers'}"
            yield Reason(code=ReasonCode.NO_CONSUMER, text=text)

    def _of_consumers(self) -> Iterator[Reason]:
        yield from self._of_topic()
        yield from self._of_group()
        yield from self._of_model()
        failed = [each for each in self.live if each.error]
        for each in failed[:3]:
            yield Reason(
                code=ReasonCode.CONSUMER_FAILED,
                text=f"consumer {each.replica} has failed and is to be replaced: {each.error}",
                blocks=len(failed) == len(self.live),
            )
        for line in merged(each.waits for each in self.live):
            yield from self._of_line(line)
        if self.live and all(each.admission_closed_s is not None for each in self.live):
            yield from self._of_admission()

    def _of_topic(self) -> Iterator[Reason]:
        lags, name = self._facts.lags, self._route.name
        if name in lags and lags[name] is None:
            topic = self._route.requests_topic
            text = f"topic {topic} is gone: create it (`headrace topics create`)"
            yield Reason(code=ReasonCode.TOPIC_MISSING, text=text)

    def _of_group(self) -> Iterator[Reason]:
        suspended = [each for each in self.live if each.is_suspended and not each.error]
        if suspended:
            of = f"{len(suspended)} of {len(self.live)} consumers"
            text = f"the group is rebalancing: {of} read again when each member has joined"
            blocks = len(suspended) == len(self.live)
            yield Reason(code=ReasonCode.REBALANCING, text=text, blocks=blocks)
        elif self.live and not any(each.partitions for each in self.live):
            yield Reason(
                code=ReasonCode.NO_PARTITION,
                text=f"its consumers are assigned no partition of {self._route.requests_topic}: "
                f"other members of group {self._route.group} have them (`kafka-consumer-groups.sh "
                "--describe --members` names them)",
            )

    def _of_model(self) -> Iterator[Reason]:
        for model in self._facts.known.models:
            if self._route.name not in model.routes:
                continue
            name = model_deployment_name(model.name)
            deployment = self._deployment(name)
            if deployment is None or deployment.running:
                continue
            if not deployment.target and deployment.lack is None:
                why = self._facts.decisions.get(name, "the first record that calls it starts one")
                text = f"model {model.name} is scaled to no replica: {why}"
            else:
                text = f"model {model.name} has no replica: {deployment.lack or 'none runs'}"
            yield Reason(
                code=ReasonCode.NO_MODEL_REPLICA,
                text=text,
                # A pipeline may have other steps that go on.
                blocks=model.name == self._route.model,
            )
        open_breakers = sum(each.is_breaker_open for each in self.live)
        if open_breakers:
            text = f"the model is down: {open_breakers} of {len(self.live)} consumers give "
            text += f"{self._route.model} a rest after failed calls; see the log of its replicas"
            blocks = open_breakers == len(self.live)
            yield Reason(code=ReasonCode.BREAKER_OPEN, text=text, blocks=blocks)

    def _of_line(self, line: str) -> Iterator[Reason]:
        code, blocks = code_of(line)
        waiting = sum(
            any(subject(own) == subject(line) for own in each.waits) for each in self.live
        )
        yield Reason(code=code, text=line, blocks=blocks and waiting == len(self.live))

    def _of_admission(self) -> Iterator[Reason]:
        closed_s = min(each.admission_closed_s or 0.0 for each in self.live)
        if closed_s >= QUIET_S:
            held = sum(each.held_records for each in self.live)
            text = f"admission is full for {closed_s:.0f} s: {held:,} records are held, and reading"
            text += " goes on as they are completed"
            yield Reason(code=ReasonCode.ADMISSION_CLOSED, text=text)

    def _unexplained(self, quiet_s: float) -> Reason | None:
        in_flight = sum(each.in_flight_records for each in self.live)
        left = 0 if self.lag is None else self.lag.left_records
        if in_flight and quiet_s >= UNANSWERED_S:
            what = f"{in_flight:,} records are with model {self._route.model}, which answers none"
            see = "see the log of its replicas"
        elif not in_flight and quiet_s >= UNEXPLAINED_S:
            what = f"{left:,} records are left, and nothing is known to be in their way"
            see = "see the log of its consumers"
        else:
            return None
        text = f"nothing was completed for {quiet_s:.0f} s: {what}; {see}"
        return Reason(code=ReasonCode.NOTHING_COMPLETES, text=text)

    def _ordered(self, reasons: Sequence[Reason]) -> list[Reason]:
        """Return the gravest first, and one of each subject.

        A consumer's own line on something says more than the same of its numbers.
        """
        said = {code_of(line)[0] for each in self.live for line in each.waits}
        own = set(merged(each.waits for each in self.live))
        kept: dict[str, Reason] = {}
        for each in reasons:
            if each.text in own or each.code not in said or each.code in _COUNTED:
                kept[subject(each.text)] = each
        return sorted(kept.values(), key=lambda each: (not each.blocks, _ORDER.index(each.code)))


_COUNTED = frozenset({ReasonCode.NO_MODEL_REPLICA})
"""Here Serve knows more than consumers do."""


def _is_starting(deployment: DeploymentFacts) -> bool:
    is_under_way = deployment.status in ("UPDATING", "UPSCALING", "DEPLOYING")
    return is_under_way and "fail" not in deployment.message.lower()
