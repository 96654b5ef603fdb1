"""Lag read from outside a group; brokers answer from memory, in bytes."""

import struct
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from aiokafka import errors
from aiokafka.protocol.commit import OffsetFetchRequest_v3

from consumer.autoscaling.lag import BacklogTracker
from consumer.engine.offsets.completion_map import CompletionMap, encode
from consumer.kafka.admin import group_lags
from consumer.kafka.admin.group_lags import GroupLags
from consumer.kafka.client.offsets import (
    CommittedOffsetsRequest,
    ListOffsetsRequest,
    ListOffsetsRequest_v2,
)
from consumer.ports import Lag, OffsetAndMetadata, SourceError, TopicPartition
from schemas.settings.file import KafkaSettings

TOPIC = "requests"
LOADING, NOT_LEADER, DENIED, GROUP_DENIED = 14, 6, 29, 30


def text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()


class FakeCluster:
    """Leads a topic's partitions by two brokers, and answers for what the group has committed."""

    made: list["FakeCluster"] = []  # noqa: RUF012 - replaced by the fixture

    def __init__(self, _settings: KafkaSettings, _client_id: str, _timeout_ms: int) -> None:
        self.made.append(self)
        self.points: dict[int, OffsetAndMetadata | None] = {0: OffsetAndMetadata(4, "map"), 1: None}
        self.asked: list[str] = []
        self.codes: dict[str, list[int]] = {}
        self.leaderless = 0
        self.is_closed = False

    async def start(self, topics: Collection[str]) -> None:
        assert not topics

    async def close(self) -> None:
        self.is_closed = True

    async def find_partitions(self, topic: str) -> list[int]:
        return sorted(self.points) if topic == TOPIC else []

    def leaders(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[int | None, list[TopicPartition]]:
        led: dict[int | None, list[TopicPartition]] = {}
        for each in partitions:
            leader = None if self.leaderless and each.partition == 1 else each.partition % 2
            led.setdefault(leader, []).append(each)
        return led

    def forget_coordinators(self, *groups: str) -> None:
        self.asked.append(f"find {groups}")

    async def learn_leaders(self) -> None:
        self.leaderless = max(0, self.leaderless - 1)
        self.asked.append("leaders")

    def _code(self, kind: str) -> int:
        self.asked.append(kind)
        codes = self.codes.get(kind, [])
        return codes.pop(0) if codes else 0

    async def ask_group(self, group: str, request: CommittedOffsetsRequest) -> Any:
        asked = request.build(OffsetFetchRequest_v3)
        assert (asked.consumer_group, asked.topics[0][0]) == (group, TOPIC)
        code = self._code("offsets")
        found = b"".join(self._points(asked.topics[0][1]))
        topics = b"" if code else text(TOPIC) + struct.pack(">i", len(self.points)) + found
        count = 0 if code else 1
        response = struct.pack(">ii", 0, count) + topics + struct.pack(">h", code)
        return OffsetFetchRequest_v3.RESPONSE_TYPE.decode(response)

    def _points(self, numbers: list[int]) -> Iterator[bytes]:
        for number in numbers:
            point = self.points[number] or OffsetAndMetadata(-1, "")
            yield struct.pack(">iq", number, point.offset) + text(point.metadata) + b"\0\0"

    async def ask_broker(self, broker: int, request: ListOffsetsRequest) -> Any:
        asked = request.build(ListOffsetsRequest_v2)
        encoded = asked.encode()
        name = text(TOPIC)
        assert encoded.startswith(struct.pack(">ibi", -1, asked.isolation_level, 1) + name)
        partitions = np.frombuffer(
            encoded, [("partition", ">i4"), ("timestamp", ">i8")], offset=13 + len(name)
        )
        (timestamp,) = set(partitions["timestamp"].tolist())
        kind = {-2: "start", -1: ("high watermark", "end")[asked.isolation_level]}[timestamp]
        bound = {"start": 1, "end": 10, "high watermark": 13}[kind]
        answer = np.zeros(
            len(partitions),
            [("partition", ">i4"), ("code", ">i2"), ("timestamp", ">i8"), ("offset", ">i8")],
        )
        assert set((partitions["partition"] % 2).tolist()) == {broker}
        answer["partition"], answer["offset"] = partitions["partition"], bound
        answer["code"][0] = self._code(kind)
        count = struct.pack(">i", len(partitions))
        return ListOffsetsRequest_v2.RESPONSE_TYPE.decode(
            struct.pack(">ii", 0, 1) + name + count + answer.tobytes()
        )


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[FakeCluster]:
    clients: list[FakeCluster] = []
    monkeypatch.setattr(FakeCluster, "made", clients)
    monkeypatch.setattr(group_lags, "ClusterClient", FakeCluster)
    monkeypatch.setattr(group_lags, "_RETRY_S", 0.001)
    return clients


ONCE = ["offsets", *["start"] * 2, *["end"] * 2, *["high watermark"] * 2]
FOUND = {
    TopicPartition(TOPIC, 0): Lag(1, 10, OffsetAndMetadata(4, "map"), 13),
    TopicPartition(TOPIC, 1): Lag(1, 10, None, 13),
}


async def test_readings_share_a_client_and_ask_each_broker_thrice(made: list[FakeCluster]) -> None:
    async with GroupLags(KafkaSettings()) as lags:
        assert await lags.read("g", TOPIC) == FOUND
        assert await lags.read("g", TOPIC) == FOUND
        assert await lags.read("g", "no-such-topic") == {}

    (client,) = made
    assert client.asked == ONCE * 2
    assert client.is_closed


@pytest.mark.parametrize("kind", ["offsets", "start", "end", "high watermark"])
async def test_what_passes_is_asked_again(made: list[FakeCluster], kind: str) -> None:
    async with GroupLags(KafkaSettings()) as lags:
        await lags.read("g", TOPIC)
        (client,) = made
        client.codes = {kind: [LOADING if kind == "offsets" else NOT_LEADER]}
        client.leaderless = 1
        assert await lags.read("g", TOPIC) == FOUND

    assert client.asked.count("leaders") == 2


@pytest.mark.parametrize(
    ("kind", "code", "said"),
    [
        ("offsets", LOADING, r"group g does not answer for partitions \[0, 1\]"),
        ("offsets", GROUP_DENIED, "grant this user Read on the consumer group"),
        ("end", NOT_LEADER, "broker 0, topic requests"),
        ("end", DENIED, "grant this user Read and Describe"),
    ],
)
async def test_a_missing_answer_is_no_lag(
    made: list[FakeCluster], kind: str, code: int, said: str
) -> None:
    async with GroupLags(KafkaSettings()) as lags:
        await lags.read("g", TOPIC)
        made[0].codes = {kind: [code] * 1000}
        with pytest.raises(SourceError, match=said):
            await lags.read("g", TOPIC, timeout_s=0.05)


async def test_partitions_without_a_leader_are_named(made: list[FakeCluster]) -> None:
    async with GroupLags(KafkaSettings()) as lags:
        await lags.read("g", TOPIC)
        made[0].leaderless = 1_000
        with pytest.raises(SourceError, match=r"requests: no leader of partitions \[1\]"):
            await lags.read("g", TOPIC, timeout_s=0.05)


async def test_a_client_that_cannot_connect_is_made_anew(
    made: list[FakeCluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_client: FakeCluster, _topics: Collection[str]) -> None:
        raise errors.KafkaConnectionError("nobody there")

    async with GroupLags(KafkaSettings()) as lags:
        with monkeypatch.context() as patch:
            patch.setattr(FakeCluster, "start", fail)
            with pytest.raises(SourceError, match="nobody there"):
                await lags.read("g", TOPIC)
        assert await lags.read("g", TOPIC) == FOUND

    assert [client.is_closed for client in made] == [True, True]


async def test_ten_thousand_partitions_take_as_many_requests_as_two(
    made: list[FakeCluster], capsys: pytest.CaptureFixture[str]
) -> None:
    """It prints what a reading costs."""
    tracker = BacklogTracker(from_latest=False)
    metadata = encode(4, CompletionMap(600, tuple(range(10, 500, 7))))
    async with GroupLags(KafkaSettings()) as lags:
        await lags.read("g", TOPIC)
        (client,) = made
        client.asked.clear()
        client.points = dict.fromkeys(range(10_000), OffsetAndMetadata(4, metadata))
        began_s = time.process_time()
        found = await lags.read("g", TOPIC)
        read_s = time.process_time() - began_s
        tracker.observe(found, 0.0)
        observed_s = time.process_time() - began_s - read_s

    assert client.asked == ONCE
    assert len(found) == tracker.current.partitions == 10_000
    with capsys.disabled():
        sys.stdout.write(
            f"10,000 partitions: {read_s:.3f} s of CPU to read, {observed_s:.3f} s to add up\n"
        )
