"""How routes stand: one that stands still always says what it waits for."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.engine.engine import REBALANCING
from consumer.engine.waiting import waits
from consumer.replica.reports import ReplicaSnapshot, RouteStatus
from headrace.overview.assembly import assemble
from headrace.overview.facts import ConsumerFacts, DeploymentFacts, Facts
from headrace.overview.history import RouteHistory
from headrace.overview.known import KnownModel, KnownRoute, KnownService
from headrace.overview.snapshot import Lag, Overview, ReasonCode, RouteOverview, RouteState
from headrace.overview.standing import HEARD_WITHIN_S, UNANSWERED_S, UNEXPLAINED_S
from headrace.overview.wait_codes import code_of

ROUTE = KnownRoute(
    name="r",
    model="m",
    requests_topic="in",
    results_topic="out",
    dead_letters_topic="dead",
    group="g",
)
KNOWN = KnownService(routes=[ROUTE], models=[KnownModel(name="m", kind="custom", routes=["r"])])
WELL = DeploymentFacts(running=1, target=1)
BUSY = Lag(committed_records=10, left_records=10, partitions=4)
IDLE = Lag(committed_records=0, left_records=0, partitions=4)
GONE = "0 of 1 replicas run: CUDA out of memory (`serve status` tells all)"


def a_snapshot(replica: str = "a", **values: Any) -> ReplicaSnapshot:
    return ReplicaSnapshot(**{"route": "r", "replica": replica, "partitions": [0, 1], **values})


def facts(
    *live: ReplicaSnapshot,
    lag: Lag | None = BUSY,
    quiet_s: float = 60.0,
    progressed: bool = True,
    up_s: float = 1_000.0,
    deployments: Mapping[str, DeploymentFacts] | None = None,
    **rest: Any,
) -> Facts:
    now_s = 10_000.0
    history = RouteHistory(now_s - quiet_s)
    if progressed:
        history.add(None, a_snapshot(completed_records=1), now_s - quiet_s)
    return Facts(
        at_ms=1,
        known=KNOWN,
        consumers=ConsumerFacts(
            now_s=now_s,
            up_s=up_s,
            live={"r": list(live)} if live else {},
            totals={"r": RouteStatus(route="r")},
            histories={"r": history},
        ),
        deployments={"consumer-r": WELL, "model-m": WELL} if deployments is None else deployments,
        lags={"r": lag},
        **rest,
    )


def route_of(found: Facts) -> RouteOverview:
    [route] = assemble(found).routes
    return route


def stands(found: Facts) -> tuple[RouteState, list[ReasonCode]]:
    route = route_of(found)
    return route.state, [each.code for each in route.reasons]


PAUSED = "paused by hand: since 2026-11-30 (3 min); `headrace route resume r` ends it"
STILL = RouteState.STANDING_STILL


@pytest.mark.parametrize(
    ("found", "state", "codes"),
    [
        (facts(a_snapshot(), quiet_s=1.0), RouteState.RUNNING, []),
        (facts(a_snapshot(), lag=IDLE), RouteState.RUNNING, []),
        (facts(a_snapshot(partitions=[])), STILL, [ReasonCode.NO_PARTITION]),
        (facts(a_snapshot(partitions=[]), lag=IDLE), STILL, [ReasonCode.NO_PARTITION]),
        (facts(a_snapshot(is_suspended=True), lag=IDLE), STILL, [ReasonCode.REBALANCING]),
        (facts(a_snapshot(is_breaker_open=True)), STILL, [ReasonCode.BREAKER_OPEN]),
        (facts(a_snapshot(), lag=None), STILL, [ReasonCode.TOPIC_MISSING]),
        (
            facts(a_snapshot(admission_closed_s=30.0, held_records=9)),
            STILL,
            [ReasonCode.ADMISSION_CLOSED],
        ),
        (
            facts(a_snapshot(waits=[waits.no_leader("out", 3)])),
            STILL,
            [ReasonCode.NO_LEADER],
        ),
        (
            facts(a_snapshot(waits=[waits.no_broker("publishing")]), lag=IDLE),
            STILL,
            [ReasonCode.BROKERS_SILENT],
        ),
        (
            facts(a_snapshot(error="SourceError('gone')"), lag=IDLE),
            STILL,
            [ReasonCode.CONSUMER_FAILED],
        ),
        (
            facts(
                a_snapshot(),
                deployments={
                    "consumer-r": WELL,
                    "model-m": DeploymentFacts(target=1, lack=GONE),
                },
            ),
            STILL,
            [ReasonCode.NO_MODEL_REPLICA],
        ),
        (facts(deployments={"model-m": WELL}), STILL, [ReasonCode.NOT_DEPLOYED]),
        (facts(), STILL, [ReasonCode.NO_CONSUMER]),
        (facts(up_s=HEARD_WITHIN_S / 2), RouteState.STARTING, [ReasonCode.STARTING]),
        (
            facts(deployments={"consumer-r": DeploymentFacts(status="UPDATING", target=1)}),
            RouteState.STARTING,
            [ReasonCode.STARTING],
        ),
        (
            facts(
                deployments={
                    "consumer-r": DeploymentFacts(
                        status="UPDATING",
                        target=1,
                        message="The deployment failed to start 3 times in a row.\nOSError: none",
                        lack="0 of 1 replicas run: OSError: none",
                    )
                }
            ),
            STILL,
            [ReasonCode.NO_CONSUMER],
        ),
        (
            facts(
                a_snapshot(held_records=4),
                deployments={"consumer-r": replace(WELL, is_stopping=True)},
            ),
            RouteState.DRAINING,
            [ReasonCode.STOPPING],
        ),
        (
            facts(a_snapshot(partitions=[], waits=[PAUSED])),
            RouteState.PAUSED,
            [ReasonCode.PAUSED],
        ),
        (facts(paused={"r": PAUSED}), RouteState.PAUSED, [ReasonCode.PAUSED]),
        (facts(a_snapshot(), quiet_s=UNEXPLAINED_S), STILL, [ReasonCode.NOTHING_COMPLETES]),
        (
            facts(a_snapshot(in_flight_records=5, held_records=5), quiet_s=UNANSWERED_S / 2),
            RouteState.RUNNING,
            [],
        ),
        (
            facts(a_snapshot(in_flight_records=5, held_records=5), quiet_s=UNANSWERED_S),
            STILL,
            [ReasonCode.NOTHING_COMPLETES],
        ),
        (
            facts(a_snapshot(), a_snapshot("b", is_breaker_open=True), quiet_s=1.0),
            RouteState.RUNNING,
            [ReasonCode.BREAKER_OPEN],
        ),
        (
            replace(facts(), consumers=None, no_service="no Ray cluster runs"),
            RouteState.UNKNOWN,
            [ReasonCode.NO_SERVICE],
        ),
    ],
)
def test_a_route_stands_as_its_facts_say(
    found: Facts, state: RouteState, codes: list[ReasonCode]
) -> None:
    assert stands(found) == (state, codes)


def test_what_holds_up_a_part_is_told_after_what_holds_up_all() -> None:
    live = a_snapshot(waits=[waits.no_leader("out", 3), waits.topic_gone("in")])

    assert [each.code for each in route_of(facts(live)).reasons] == [
        ReasonCode.TOPIC_MISSING,
        ReasonCode.NO_LEADER,
    ]


def test_a_paused_consumer_is_told_apart_from_one_that_reads() -> None:
    members = route_of(facts(a_snapshot(waits=[PAUSED]), a_snapshot("b"), quiet_s=1.0)).members

    assert {each.replica: each.state for each in members} == {"a": "paused", "b": "reading"}


def test_a_consumers_own_words_replace_the_rule_on_the_same() -> None:
    line = "the model is down: 3 calls failed in a row, next try in 2 s; see `serve status`"
    route = route_of(facts(a_snapshot(is_breaker_open=True, waits=[line])))

    assert [each.text for each in route.reasons] == [line]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (waits.topic_gone("t"), ReasonCode.TOPIC_MISSING),
        (waits.no_leader("t", 0), ReasonCode.NO_LEADER),
        (waits.no_broker("reading t"), ReasonCode.BROKERS_SILENT),
        (waits.open_transaction("t", 1, 5, 7), ReasonCode.OPEN_TRANSACTION),
        (REBALANCING, ReasonCode.REBALANCING),
        ("waits for the group: it has handed out no partitions yet", ReasonCode.REBALANCING),
        ("model m: no replica takes calls; see", ReasonCode.NO_MODEL_REPLICA),
        ("the object store fails: 3 bodies", ReasonCode.WAITS),
    ],
)
def test_a_consumers_line_has_a_kind(line: str, code: ReasonCode) -> None:
    assert code_of(line)[0] is code


SNAPSHOTS = st.builds(
    a_snapshot,
    replica=st.sampled_from("abc"),
    partitions=st.lists(st.integers(0, 9), max_size=3),
    in_flight_records=st.integers(0, 5),
    queued_records=st.integers(0, 5),
    held_records=st.integers(0, 9),
    admission_closed_s=st.none() | st.floats(0, 100),
    is_breaker_open=st.booleans(),
    is_suspended=st.booleans(),
    error=st.none() | st.just("lost"),
    waits=st.lists(
        st.sampled_from(
            [waits.topic_gone("in"), waits.no_leader("out", 1), "store: fails", PAUSED]
        ),
        max_size=2,
    ),
)
DEPLOYMENTS = st.builds(
    DeploymentFacts,
    status=st.sampled_from(["HEALTHY", "UPDATING", "UNHEALTHY", "DEPLOY_FAILED", "UPSCALING"]),
    running=st.integers(0, 2),
    target=st.integers(0, 2),
    message=st.sampled_from(["", "failed to start", "waits for room"]),
    is_stopping=st.booleans(),
    lack=st.none() | st.just("0 of 1 replicas run: no room"),
)


@given(
    live=st.lists(SNAPSHOTS, max_size=3),
    lag=st.none() | st.just(BUSY) | st.just(IDLE),
    quiet_s=st.floats(0, 1_000),
    progressed=st.booleans(),
    up_s=st.floats(0, 100),
    deployments=st.none()
    | st.dictionaries(st.sampled_from(["consumer-r", "model-m"]), DEPLOYMENTS),
    knows_lag=st.booleans(),
)
def test_what_does_not_run_has_a_reason_and_what_stands_still_waits_for_something(
    live: Sequence[ReplicaSnapshot],
    lag: Lag | None,
    quiet_s: float,
    progressed: bool,
    up_s: float,
    deployments: Mapping[str, DeploymentFacts] | None,
    knows_lag: bool,
) -> None:
    found = facts(*live, lag=lag, quiet_s=quiet_s, progressed=progressed, up_s=up_s)
    found = replace(found, deployments=deployments, lags=found.lags if knows_lag else {})

    overview = assemble(found)

    [route] = overview.routes
    if route.state is not RouteState.RUNNING:
        assert route.reasons
    for each in route.reasons:
        assert each.text
        assert each.text[0].isascii()
        assert "\n" not in each.text
    grave = [each.blocks for each in route.reasons]
    assert grave == sorted(grave, reverse=True)
    assert Overview.from_dict(overview.to_dict()) == overview
