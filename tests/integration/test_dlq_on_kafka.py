"""``headrace dlq`` against a real broker: what is replayed, remembered and deleted."""

import asyncio
import hashlib
import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from consumer.ports import Message
from handoff.clock import SystemClock
from headrace.cli import main
from headrace.dead_letters.replay import Outgoing
from headrace.dead_letters.transactions import HandlingTransactions
from headrace.errors import UserError
from headrace.records.reading import TopicRecord, read_topic
from headrace.settings.file import load_settings
from schemas.settings.file import Settings
from schemas.wire import headers
from schemas.wire.deadletters import read_failures, read_replays
from tests.brokers import TestBroker

pytestmark = pytest.mark.kafka

SETTINGS = """\
kafka:
  bootstrap: BOOTSTRAP
models:
  m: {kind: embedder, source: "wheel:x"}
routes:
  r: {model: m, group: ID.g, topics: {partitions: 2},
    requests_topic: ID.in, results_topic: ID.out, dead_letters_topic: ID.dead}
"""
NOW_MS = SystemClock().epoch_ms()
HOUR_MS = 3_600_000


@pytest.fixture
def settings(kafka_broker: TestBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    text = SETTINGS.replace("BOOTSTRAP", kafka_broker.bootstrap).replace("ID", uuid.uuid4().hex)
    file = tmp_path / "headrace.yaml"
    file.write_text(text)
    monkeypatch.setenv("HEADRACE_CONFIG", str(file))
    return load_settings(file)


@pytest.fixture
def topics(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Settings:
    assert run(capsys, "topics", "create")[0] == 0
    return settings


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    captured = capsys.readouterr()
    return int(caught.value.code or 0), captured.out, captured.err


def dead_letter(
    settings: Settings,
    custom_id: str,
    *,
    code: str = "model_failed",
    age_ms: int = 0,
    own: Sequence[tuple[str, bytes | None]] = (),
    source: str | None = None,
    value: bytes | None = b"",
    omitted: bytes | None = None,
    partition: int = 0,
) -> Outgoing:
    """Return a dead letter; ``value`` b"" stands for a request line."""
    route = settings.routes["r"]
    added = [
        (headers.SOURCE, (source or f"{route.requests_topic}/0/7").encode()),
        (headers.ROUTE, b"r"),
        (headers.ERROR_CODE, code.encode()),
        (headers.ERROR_MESSAGE, b"because"),
        (headers.ATTEMPTS, b"5"),
        (headers.FAILED_AT, b"%d" % (NOW_MS - age_ms)),
    ]
    if omitted is not None:
        added.append((headers.OMITTED_VALUE_BYTES, b"%d" % len(omitted)))
        digest = hashlib.sha256(omitted).hexdigest().encode()
        added.append((headers.OMITTED_VALUE_SHA256, digest))
    line = json.dumps({"custom_id": custom_id, "body": {}}).encode() if value == b"" else value
    message = Message(route.dead_letters_topic, custom_id.encode(), line, [*own, *added])
    return Outgoing(message, partition)


def publish(settings: Settings, messages: Sequence[Outgoing]) -> list[int]:
    async def send() -> list[int]:
        async with AIOKafkaProducer(
            bootstrap_servers=settings.kafka.bootstrap, max_request_size=8_000_000
        ) as producer:
            return [
                (
                    await producer.send_and_wait(
                        message.topic,
                        message.value,
                        message.key,
                        partition=partition,
                        headers=message.headers,
                    )
                ).offset
                for message, partition in messages
            ]

    return asyncio.run(send())


def requests(settings: Settings, topic: str = "") -> list[TopicRecord]:
    """Return all records of the requests topic, or of another."""
    name = topic or settings.routes["r"].requests_topic

    async def read() -> list[TopicRecord]:
        records = read_topic(settings.kafka, name, from_beginning=True, follow=False)
        return [record async for record in records if record is not None]

    return asyncio.run(read())


def administer(settings: Settings, do: Callable[[AIOKafkaAdminClient], Awaitable[object]]) -> None:
    async def connected() -> None:
        client = AIOKafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap)
        await client.start()
        try:
            await do(client)
        finally:
            await client.close()

    asyncio.run(connected())


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    code, out, err = run(capsys, "dlq", "list", "--json", *arguments)
    assert code == 0, err
    return [json.loads(line) for line in out.splitlines()]


def ids(letters: list[dict[str, Any]]) -> list[str]:
    return sorted(each["custom_id"] for each in letters)


def test_nothing_was_dead_lettered_yet(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("list", "replay", "purge"):
        code, _, err = run(capsys, "dlq", command)
        assert code == 0
        assert f"no topic {settings.routes['r'].dead_letters_topic} yet" in err


def test_filters(topics: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    publish(
        topics,
        [
            dead_letter(topics, "job-1", age_ms=30 * HOUR_MS),
            dead_letter(topics, "job-2", code="invalid_json", value=b"no json"),
            dead_letter(topics, "other[1]", age_ms=HOUR_MS, partition=1),
        ],
    )

    assert ids(listed(capsys)) == ["job-1", "job-2", "other[1]"]
    assert ids(listed(capsys, "--error", "invalid_json")) == ["job-2"]
    assert ids(listed(capsys, "--older-than", "20h")) == ["job-1"]
    assert ids(listed(capsys, "--newer-than", "20h")) == ["job-2", "other[1]"]
    assert ids(listed(capsys, "--custom-id", "job-*")) == ["job-1", "job-2"]
    assert ids(listed(capsys, "--custom-id", "other[1]")) == ["other[1]"]
    code, out, _ = run(capsys, "dlq", "list", "--limit", "1")
    assert code == 0
    assert "3 in all" in out


def test_a_replayed_request_is_as_it_was_and_keeps_its_history(
    topics: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(topics, [dead_letter(topics, "a", own=[("mine", b"\xff"), ("headrace-job", b"j")])])

    code, out, err = run(capsys, "dlq", "replay", "--yes", "--json")

    assert code == 0, err
    assert json.loads(out) == {"replayed_records": 1, "left_records": 0, "problems": []}
    (request,) = requests(topics)
    assert request.key == b"a"
    assert json.loads(request.value or b"")["custom_id"] == "a"
    assert request.headers[:2] == (("mine", b"\xff"), ("headrace-job", b"j"))
    assert [name for name, _ in request.headers[2:]] == [headers.REPLAYS, headers.FAILURES]
    assert read_replays(request.headers) == 1
    (failure,) = read_failures(request.headers)
    assert (failure.error_code, failure.route, failure.failed_at) == ("model_failed", "r", NOW_MS)
    assert listed(capsys) == []
    assert [each["handled"] for each in listed(capsys, "--all")] == [True]

    publish(topics, [dead_letter(topics, "a", own=request.headers)])
    assert run(capsys, "dlq", "replay", "--yes")[0] == 0
    again = requests(topics)[-1]
    assert read_replays(again.headers) == 2
    assert len(read_failures(again.headers)) == 2


def test_filters_leave_holes_and_nothing_is_replayed_twice(
    topics: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    letters = [
        dead_letter(topics, f"{number}", code=("model_failed", "invalid_json")[number % 2])
        for number in range(1200)
    ]
    publish(topics, letters)

    code, out, _ = run(capsys, "dlq", "replay", "--dry-run", "--error", "model_failed", "--json")
    (planned,) = json.loads(out).values()
    assert (code, planned["records"]) == (0, 600)
    assert requests(topics) == []

    assert run(capsys, "dlq", "replay", "-y", "-e", "model_failed", "-n", "100")[0] == 0
    assert run(capsys, "dlq", "replay", "-y", "-e", "model_failed")[0] == 0
    assert run(capsys, "dlq", "replay", "-y", "-e", "model_failed")[0] == 0
    keys = [int(record.key or b"") for record in requests(topics)]
    assert sorted(keys) == list(range(0, 1200, 2))
    assert len(listed(capsys, "--limit", "10000")) == 600

    assert run(capsys, "dlq", "replay", "-y")[0] == 0
    assert len({record.key for record in requests(topics)}) == len(requests(topics)) == 1200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_replay_goes_on_where_it_was(
    topics: Settings, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    # At that rate it takes 20 s: long enough to interrupt it, even on a busy machine.
    letters = 400
    publish(topics, [dead_letter(topics, f"{each}") for each in range(letters)])
    command = ["dlq", "replay", "--yes", "--json", "--rate", "20"]
    # A test run in the background of a script ignores SIGINT, and so would its children.
    heeds_interrupts = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"{heeds_interrupts}; from headrace.cli import main; main({command})",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as replaying:
        try:
            while len(requests(topics)) < 5:
                assert replaying.poll() is None
            replaying.send_signal(number)
            out, _ = replaying.communicate(timeout=60)
        finally:
            replaying.kill()

    if number is signal.SIGINT:
        assert replaying.returncode == 130
        assert 5 <= json.loads(out)["replayed_records"] < letters
    assert run(capsys, "dlq", "replay", "-y")[0] == 0
    keys = [int(record.key or b"") for record in requests(topics)]
    assert sorted(keys) == list(range(letters))


def test_a_second_command_ends_the_first(topics: Settings) -> None:
    async def race() -> None:
        topic = topics.routes["r"].dead_letters_topic
        outgoing = Outgoing(Message(topics.routes["r"].requests_topic, b"k", b"v", []), 0)

        def unheard() -> None:
            return

        async with HandlingTransactions(topics.kafka, topic) as first:
            await first.commit([outgoing], {}, unheard)
            async with HandlingTransactions(topics.kafka, topic) as second:
                with pytest.raises(UserError, match="another `headrace dlq`"):
                    await first.commit([outgoing], {}, unheard)
                await second.commit([outgoing], {}, unheard)

    asyncio.run(race())

    assert len(requests(topics)) == 2


def test_an_omitted_value_is_fetched_from_its_source(
    topics: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    route = topics.routes["r"]
    value = json.dumps({"custom_id": "big", "x": "y" * 1000}).encode()
    original = Outgoing(Message(route.requests_topic, b"key", value, [("h", b"1")]), 1)
    (offset,) = publish(topics, [original])
    place = f"{route.requests_topic}/1/{offset}"
    publish(
        topics,
        [
            dead_letter(topics, "big", value=None, omitted=value, source=place),
            dead_letter(topics, "other", value=None, omitted=b"other", source=place),
            dead_letter(topics, "gone", value=None, omitted=value, source=f"{place}99"),
        ],
    )

    code, out, _ = run(capsys, "dlq", "replay", "-y", "--json")

    report = json.loads(out)
    assert (code, report["replayed_records"], report["left_records"]) == (1, 1, 2)
    assert "is another one" in report["problems"][0]
    assert "no longer at" in report["problems"][1]
    replayed = requests(topics)[-1]
    assert (replayed.partition, replayed.key, replayed.value) == (1, b"key", value)
    assert replayed.headers[0] == ("h", b"1")
    assert ids(listed(capsys)) == ["gone", "other"]


def test_what_cannot_be_replayed_stays(
    topics: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    small_topic = uuid.uuid4().hex

    async def create(client: AIOKafkaAdminClient) -> None:
        configs = {"max.message.bytes": "2000"}
        await client.create_topics([NewTopic(small_topic, 1, 1, topic_configs=configs)])

    administer(topics, create)
    foreign = Outgoing(Message(topics.routes["r"].dead_letters_topic, b"k", b"v", []), 0)
    large = dead_letter(topics, "large", value=b"x" * 5000)
    publish(topics, [foreign, large, dead_letter(topics, "fits")])

    code, out, _ = run(capsys, "dlq", "replay", "-y", "--json", "--to", small_topic)

    report = json.loads(out)
    assert (code, report["replayed_records"], report["left_records"]) == (1, 1, 2)
    assert "no dead letter" in report["problems"][0]
    assert "max.message.bytes" in report["problems"][1]
    assert [record.key for record in requests(topics, small_topic)] == [b"fits"]
    code, out, _ = run(capsys, "dlq", "replay", "-y", "--json", "--to", "nonexistent")
    assert (code, json.loads(out)["left_records"]) == (1, 2)
    assert "there is no topic nonexistent" in json.loads(out)["problems"][1]


def test_purge_hides_and_deletes_what_nothing_unhandled_stands_before(
    topics: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = topics.routes["r"].dead_letters_topic
    codes = ["invalid_json", "invalid_json", "model_failed", "invalid_json"]
    publish(topics, [dead_letter(topics, f"{n}", code=code) for n, code in enumerate(codes)])

    code, out, err = run(capsys, "dlq", "purge", "--dry-run", "-e", "invalid_json", "--json")
    assert code == 0, err
    assert json.loads(out)[topic]["delete_below"] == {"0": 2}

    code, out, err = run(capsys, "dlq", "purge", "-y", "-e", "invalid_json", "--json")
    assert code == 0, err
    assert json.loads(out) == {"purged_records": 3, "deleted_below": {topic: {"0": 2}}}
    assert ids(listed(capsys)) == ["2"]
    assert ids(listed(capsys, "--all")) == ["2", "3"]

    assert run(capsys, "dlq", "replay", "-y")[0] == 0
    code, out, _ = run(capsys, "dlq", "purge", "-y", "--json")
    assert json.loads(out) == {"purged_records": 0, "deleted_below": {topic: {"0": 4}}}
    assert listed(capsys, "--all") == []


def test_a_topic_created_again_hides_nothing(
    topics: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(topics, [dead_letter(topics, f"{number}") for number in range(3)])
    assert run(capsys, "dlq", "purge", "-y", "--keep-records")[0] == 0
    assert listed(capsys) == []

    administer(topics, lambda client: client.delete_topics([topics.routes["r"].dead_letters_topic]))
    assert run(capsys, "topics", "create")[0] == 0
    publish(topics, [dead_letter(topics, f"new-{number}") for number in range(5)])

    assert len(listed(capsys)) == 5
    assert run(capsys, "dlq", "replay", "-y", "--custom-id", "new-4")[0] == 0
    assert ids(listed(capsys)) == ["new-0", "new-1", "new-2", "new-3"]


def test_show(topics: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    route = topics.routes["r"]
    publish(topics, [dead_letter(topics, "a", own=[("mine", b"\x1b[2J")])])

    for which in (f"{route.dead_letters_topic}/0/0", f"{route.requests_topic}/0/7", "a"):
        code, out, err = run(capsys, "dlq", "show", which)
        assert code == 0, err
        assert "because" in out
        assert "\x1b" not in out
    code, out, _ = run(capsys, "dlq", "show", "a", "--json")
    assert json.loads(out)["record"]["headers"]["mine"] == "\x1b[2J"

    code, _, err = run(capsys, "dlq", "show", "b")
    assert code == 2
    assert "no dead letter b" in err
