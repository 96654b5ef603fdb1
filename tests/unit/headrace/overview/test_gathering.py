"""Facts are gathered once for all who ask; what does not answer is named and left out."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from ray.serve._private.common import DeploymentStatus, ReplicaState

from consumer.ports import Lag, Message, OffsetAndMetadata, SourceError, TopicPartition
from headrace.errors import ServiceError
from headrace.overview.facts import ConsumerFacts, DeploymentFacts
from headrace.overview.gathering import Gathering
from headrace.overview.jobs_follower import UNWANTED_AFTER_S, JobsFollower
from headrace.overview.known import KnownRoute, KnownService
from headrace.overview.serve_facts import ServeFacts, deployments_of, known_of
from headrace.overview.snapshot import RouteState
from headrace_client.registry.announcements import Announcement
from headrace_client.registry.standing import JobStanding
from tests.memory.broker import MemoryBroker
from tests.memory.control import MemoryControlSource
from tests.simulation import EPOCH_MS, SimulatedClock, simulate

KNOWN = KnownService(
    routes=[
        KnownRoute(
            name=name,
            model="m",
            requests_topic=f"{name}.in",
            results_topic="out",
            dead_letters_topic="dead",
            group="g",
        )
        for name in ("a", "b")
    ]
)


class Lags:
    def __init__(self) -> None:
        self.reads = 0
        self.away = False

    async def read(
        self, group: str, topic: str, timeout_s: float = 1.0
    ) -> dict[TopicPartition, Lag]:
        self.reads += 1
        if self.away:
            raise SourceError("no broker answers")
        if topic == "b.in":
            return {}
        return {
            TopicPartition(topic, 0): Lag(0, 100, OffsetAndMetadata(40, "")),
            TopicPartition(topic, 1): Lag(10, 20, OffsetAndMetadata(5, "")),
            TopicPartition(topic, 2): Lag(0, 7, None),
        }


class Sources:
    """What a gathering asks."""

    def __init__(self) -> None:
        self.lags = Lags()
        self.serve_is_away = False
        self.serve_asked = 0

    def serve(self) -> ServeFacts:
        self.serve_asked += 1
        if self.serve_is_away:
            raise ServiceError("the controller is gone")
        well = DeploymentFacts(running=1, target=1)
        return ServeFacts(known=KNOWN, deployments={"consumer-a": well, "consumer-b": well})

    async def jobs(self) -> Sequence[JobStanding]:
        raise SourceError("no topic headrace.jobs")

    def gathering(self) -> Gathering:
        return Gathering(
            KnownService(jobs_topic="headrace.jobs"),
            clock=SimulatedClock(),
            lags=self.lags,
            ask_serve=self.serve,
            ask_jobs=self.jobs,
            ask_consumers=lambda: ConsumerFacts(now_s=100.0, up_s=100.0),
        )


async def test_those_who_ask_together_get_the_same() -> None:
    sources = Sources()
    gathering = sources.gathering()

    first, second = await asyncio.gather(gathering.overview(), gathering.overview())

    assert first is second
    assert (sources.lags.reads, sources.serve_asked) == (2, 1)


async def test_lags_are_summed_and_a_missing_topic_is_told() -> None:
    overview = await Sources().gathering().overview()

    a, b = overview.routes
    assert a.lag is not None
    # Records that retention has deleted are no work any more.
    assert (a.lag.committed_records, a.lag.left_records, a.lag.partitions) == (77, 77, 3)
    assert (a.lag.largest_partition, a.lag.largest_partition_records) == (0, 60)
    assert b.lag is None
    assert b.state is RouteState.STANDING_STILL
    assert any("topic b.in is gone" in each.text for each in b.reasons)
    assert overview.unanswered == ["jobs: no topic headrace.jobs"]


async def test_each_that_does_not_answer_is_named_once() -> None:
    sources = Sources()
    gathering = sources.gathering()
    await gathering.overview()
    sources.lags.away = sources.serve_is_away = True
    gathering._slow = gathering._overview = None

    overview = await gathering.overview()

    assert overview.unanswered == [
        "no broker answers",
        "Serve: the controller is gone",
        "jobs: no topic headrace.jobs",
    ]
    # What was deployed a moment ago is still shown.
    assert [each.name for each in overview.routes] == ["a", "b"]
    assert [each.lag for each in overview.routes] == [None, None]


class SlowLags:
    """Each answer takes ``takes_s``; after ``timeout_s`` none comes any more."""

    def __init__(self, takes_s: float) -> None:
        self.takes_s = takes_s
        self.reads = 0

    async def read(
        self, group: str, topic: str, timeout_s: float = 1.0
    ) -> dict[TopicPartition, Lag]:
        self.reads += 1
        await asyncio.sleep(min(self.takes_s, timeout_s))
        if self.takes_s >= timeout_s:
            raise SourceError("no broker answers")
        return {TopicPartition(topic, 0): Lag(0, 7, None)}


def fifty_routes(monkeypatch: pytest.MonkeyPatch, lags: SlowLags) -> Gathering:
    async def at_once(call: Any, *arguments: Any) -> Any:
        return call(*arguments)

    # A simulation has no threads.
    monkeypatch.setattr(asyncio, "to_thread", at_once)
    routes = [replace(KNOWN.routes[0], name=f"route-{number}") for number in range(50)]
    return Gathering(
        KnownService(routes=routes),
        clock=SimulatedClock(),
        lags=lags,
        ask_serve=None,
        ask_jobs=Sources().jobs,
        ask_consumers=lambda: None,
    )


def test_silent_brokers_are_told_within_the_time_that_askers_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def run() -> None:
        gathering = fifty_routes(monkeypatch, SlowLags(takes_s=1_000.0))
        async with asyncio.timeout(7.0):
            overview = await gathering.overview()
        assert len(overview.routes) == 50
        assert "no broker answers" in overview.unanswered
        assert any("42 of 50 routes not read within 6 s" in each for each in overview.unanswered), (
            overview.unanswered
        )

    simulate(run())


def test_of_slow_brokers_each_route_has_its_turn_and_stays_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def run() -> None:
        gathering = fifty_routes(monkeypatch, SlowLags(takes_s=1.9))
        overview = await gathering.overview()
        assert 20 <= sum(each.lag is not None for each in overview.routes) < 50
        for _ in range(3):
            await asyncio.sleep(7.0)
            overview = await gathering.overview()
        assert all(each.lag is not None for each in overview.routes)

    simulate(run())


def test_slow_brokers_are_asked_for_half_of_the_time_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def run() -> None:
        lags = SlowLags(takes_s=4.0)
        gathering = fifty_routes(monkeypatch, lags)
        clock = SimulatedClock()
        while clock.monotonic() < 240:
            await gathering.overview()
            await asyncio.sleep(0.5)
        # Eight at once begin two times in six seconds, and then there is a pause of six.
        assert lags.reads <= 240 / 12 * 16 + 16

    simulate(run())


async def test_partitions_are_told_for_one_route() -> None:
    gathering = Sources().gathering()
    await gathering.overview()

    found = await gathering.partitions("a")

    assert [each.left_records for each in found] == [60, 10, 7]
    with pytest.raises(KeyError):
        await gathering.partitions("c")


def announcement(job: str, **values: Any) -> Announcement:
    return Announcement(
        job=job, kind="bulk embed", state="running", started_at_ms=EPOCH_MS, **values
    ).at(EPOCH_MS)


def test_jobs_are_read_once_and_followed_while_somebody_asks() -> None:
    async def follow() -> None:
        broker = MemoryBroker()
        broker.create_topic("jobs", 1)
        opened = []

        def open_topic() -> MemoryControlSource:
            opened.append(1)
            return MemoryControlSource(broker, "jobs")

        def announce(job: str) -> None:
            said = announcement(job)
            broker.append([Message("jobs", said.key, said.encode(), [])])

        follower = JobsFollower(open_topic, SimulatedClock())
        announce("one")
        assert [each.announcement.job for each in await follower.jobs()] == ["one"]
        announce("two")
        await asyncio.sleep(3.0)
        assert len(await follower.jobs()) == 2
        assert len(opened) == 1
        await asyncio.sleep(UNWANTED_AFTER_S + 5.0)
        assert follower._registry is None
        assert len(await follower.jobs()) == 2
        assert len(opened) == 2
        await follower.close()

    simulate(follow())


def test_a_jobs_topic_that_cannot_be_read_is_told_at_once() -> None:
    async def follow() -> None:
        def open_topic() -> MemoryControlSource:
            raise SourceError("no such topic")

        follower = JobsFollower(open_topic, SimulatedClock())
        with pytest.raises(SourceError, match="no such topic"):
            await follower.jobs()
        await follower.close()

    simulate(follow())


DETAILS = {
    "headrace-route-r": {
        "status": "RUNNING",
        "message": "",
        "deployments": {
            "consumer-r": {
                "status": DeploymentStatus.UPSCALING,
                "message": "",
                "target_num_replicas": 3,
                "replicas": [
                    {"state": ReplicaState.RUNNING},
                    {"state": "STARTING"},
                    {"state": "STOPPING"},
                ],
                "deployment_config": {
                    "user_config": {
                        "built": {
                            "route": "r",
                            "settings": {
                                "model": "pipe",
                                "requests_topic": "in",
                                "results_topic": "out",
                                "dead_letters_topic": "dead",
                                "group": "g",
                                "delivery": "exactly_once",
                                "flow": {"max_bytes": 5_000},
                            },
                        }
                    }
                },
            }
        },
    },
    "headrace-model-pipe": {
        "status": "DELETING",
        "message": "",
        "deployments": {
            "model-pipe": {
                "status": "HEALTHY",
                "message": "",
                "target_num_replicas": 1,
                "replicas": [{"state": "RUNNING"}],
                "deployment_config": {
                    "user_config": {
                        "built": {
                            "model": "pipe",
                            "settings": {"kind": "pipeline", "steps": {"x": {"model": "deep"}}},
                            "calls": ["deep"],
                        }
                    }
                },
            }
        },
    },
    "headrace-model-deep": {
        "status": "DEPLOY_FAILED",
        "message": "Traceback\nOSError: no weights",
        "deployments": {},
        "deployed_app_config": {
            "args": {
                "application": "headrace-model-deep",
                "model": "deep",
                "settings": {"kind": "embedder", "source": "hub:a/b"},
            },
            "deployments": [{"name": "model-deep", "user_config": {"live": {}}}],
        },
    },
}


def test_serves_details_tell_what_is_deployed_and_what_lacks() -> None:
    found = deployments_of(DETAILS)

    consumer = found["consumer-r"]
    assert (consumer.running, consumer.target) == (1, 3)
    assert (consumer.lack or "").startswith("1 of 3 replicas run: they are starting")
    assert found["model-pipe"].is_stopping
    assert found["model-deep"].lack == "OSError: no weights"

    known = known_of(DETAILS)
    [route] = known.routes
    assert (route.name, route.model, route.delivery) == ("r", "pipe", "exactly_once")
    assert {each.name: (each.kind, each.source, each.routes) for each in known.models} == {
        "pipe": ("pipeline", "x: deep", ["r"]),
        "deep": ("embedder", "hub:a/b", ["r"]),
    }
