"""Stand-ins for the cluster and the service, in memory: whole jobs run against them."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Self

import pytest

from headrace_client.bulk.job import round_runner, session
from headrace_client.bulk.job.options import BulkOptions
from headrace_client.bulk.job.progress.report import Report
from headrace_client.bulk.job.service import Service
from headrace_client.kafka.reading import LogRange, TopicRecord
from headrace_client.routes import Route
from headrace_client.wire.names import Headers, Place

REQUESTS, RESULTS = "t.requests", "t.results"


@dataclass
class Log:
    """One partition: offsets from ``start`` on."""

    start: int = 0
    records: list[tuple[bytes, Headers]] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.start + len(self.records)

    def cut(self) -> None:
        """Delete what is there, as retention does."""
        self.start, self.records = self.end, []


class Topic:
    made = 0

    def __init__(self, partitions: int) -> None:
        Topic.made += 1
        self.id = f"{Topic.made:032x}"
        self.logs = [Log() for _ in range(partitions)]


class Cluster:
    """Two topics, and a service that answers each request as soon as it is published.

    Attributes:
        answer: Makes what a request ends in, of its line: a body, or a code; ``None`` answers
            nothing.
        lines: The requests.
    """

    bootstrap = "stand-in:9092"

    def __init__(self, answer: Callable[[dict[str, Any]], dict[str, Any] | str | None]) -> None:
        self.topics = {REQUESTS: Topic(2), RESULTS: Topic(2)}
        self.answer = answer
        self.lines: list[dict[str, Any]] = []

    def make_anew(self, topic: str) -> None:
        self.topics[topic] = Topic(2)

    def cut(self, topic: str) -> None:
        for log in self.topics[topic].logs:
            log.cut()

    def append(self, topic: str, partition: int, value: bytes, headers: Headers) -> int:
        log = self.topics[topic].logs[partition]
        log.records.append((value, headers))
        return log.end - 1

    def publish(self, topic: str, value: bytes, headers: Headers) -> Place:
        line = json.loads(value)
        partition = len(self.lines) % len(self.topics[topic].logs)
        self.lines.append(line)
        place = Place(topic, partition, self.append(topic, partition, value, headers))
        self.serve(place, line)
        return place

    def serve(self, place: Place, line: dict[str, Any]) -> None:
        said = self.answer(line)
        if said is None:
            return
        name = f"{place.topic}-{place.partition}-{place.offset}"
        result: dict[str, Any] = {"id": name, "custom_id": line["custom_id"]}
        if isinstance(said, str):
            result |= {"response": None, "error": {"code": said, "message": "so it is"}}
        else:
            response = {"status_code": 200, "request_id": name, **said}
            result |= {"response": response, "error": None}
        self.append(RESULTS, place.partition, json.dumps(result).encode(), ())

    def serve_all(self) -> None:
        """Answer what is on the requests topic, in its order."""
        for number, log in enumerate(self.topics[REQUESTS].logs):
            for at, (value, _) in enumerate(list(log.records)):
                self.serve(Place(REQUESTS, number, log.start + at), json.loads(value))


class Reader:
    """As ``TopicReader``."""

    def __init__(self, cluster: Cluster, topic: str, *, fetch_bytes: int = 0) -> None:
        del fetch_bytes
        self.topic = topic
        self.breaks = 0
        self.positions: dict[int, int] = {}
        self._cluster = cluster
        self._read = cluster.topics[topic]

    @property
    def topic_id(self) -> str:
        return self._read.id

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        pass

    async def bounds(self) -> dict[int, LogRange]:
        return {n: LogRange(each.start, each.end) for n, each in enumerate(self._read.logs)}

    def assign(self, positions: Mapping[int, int]) -> None:
        self.positions = dict(positions)

    async def assign_ends(self) -> dict[int, int]:
        self.assign({number: each.end for number, each in (await self.bounds()).items()})
        return dict(self.positions)

    async def read(self, timeout_s: float, max_records: int = 500) -> list[TopicRecord]:
        del timeout_s
        await asyncio.sleep(0.001)
        now = self._cluster.topics[self.topic]
        if now is not self._read:
            self._read = now
            self.breaks += 1
            self.positions = dict.fromkeys(range(len(now.logs)), 0)
        found: list[TopicRecord] = []
        for number, at in self.positions.items():
            log = now.logs[number]
            if not log.start <= at <= log.end:
                self.breaks += 1
                self.positions[number] = log.start
                return []
            for offset in range(at, min(log.end, at + max_records - len(found))):
                value, headers = log.records[offset - log.start]
                found.append(TopicRecord(number, offset, None, value, headers, 0))
                self.positions[number] = offset + 1
        return found

    async def scan(self, starts: Mapping[int, int]) -> AsyncGenerator[list[TopicRecord], None]:
        self.assign(starts)
        while records := await self.read(0.0):
            yield records


class Publisher:
    """As ``RequestPublisher``."""

    def __init__(self, cluster: Cluster, topic: str) -> None:
        self._cluster = cluster
        self._topic = topic

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def flush(self) -> None:
        pass

    def publish(self, value: bytes, *, headers: Headers) -> asyncio.Future[Place]:
        future: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        future.set_result(self._cluster.publish(self._topic, value, headers))
        return future


class Said(nullcontext["Said"]):
    """A display that keeps what it was told."""

    def __init__(self) -> None:
        super().__init__(self)
        self.remarks: list[str] = []
        self.reports: list[Report] = []

    def show(self, report: Report) -> None:
        self.reports.append(report)

    def say(self, line: str) -> None:
        self.remarks.append(line)

    def busy(self, doing: str) -> nullcontext[object]:
        self.say(doing)
        return nullcontext[object](None)

    @property
    def text(self) -> str:
        return "\n".join(self.remarks)


async def _somebody_reads() -> bool:
    await asyncio.sleep(0)
    return True


def connect(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> None:
    """Let jobs run against ``cluster``."""
    route = Route(name="t", requests_topic=REQUESTS, results_topic=RESULTS)
    connection: Any = cluster
    service = Service(connection=connection, results=connection, route=route, identity={})
    monkeypatch.setattr(session, "find_service", lambda _options: service)
    monkeypatch.setattr(round_runner, "TopicReader", Reader)
    monkeypatch.setattr(round_runner, "RequestPublisher", Publisher)
    monkeypatch.setattr(round_runner, "looking", lambda *_about: _somebody_reads)


def run(inputs: Sequence[object], out: object, **options: Any) -> tuple[int, Said]:
    """Run ``headrace bulk embed`` over rows of a column ``text``, 4 a request."""
    said = Said()
    given: dict[str, Any] = {"batch_rows": 4, "window_requests": 2, "column": "text"} | options
    status = session.run_bulk(
        BulkOptions(
            kind="embed",
            inputs=tuple(map(str, inputs)),
            out=str(out),
            url="/v1/embeddings",
            **given,
        ),
        said,
    )
    return int(status), said


def embed(line: dict[str, Any]) -> dict[str, Any]:
    """The body that the service makes: a text's vector is its length and its last digit."""
    data = [
        {"index": index, "embedding": [float(len(text)), float(text[-1])]}
        for index, text in enumerate(line["body"]["input"])
    ]
    return {"body": {"data": data, "usage": {"prompt_tokens": len(data)}}}
