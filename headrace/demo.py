"""``make demo``: a shipped file of sentences through Kafka and a real model, on this machine.

Records that must fail go in as well. It ends with what went in and what came out, and fails where
the two do not add up.
"""

import asyncio
import sys
import tempfile
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import orjson
from aiokafka import AIOKafkaProducer
from rich.markup import escape
from rich.table import Table

from consumer.clock import SystemClock
from consumer.core.ports import SourceError
from consumer.kafka.connection import client_options
from headrace.brokers import BrokerStartError
from headrace.cli.output import count, err, out, print_error, record_progress
from headrace.demo_report import (
    SKIPPED,
    Tally,
    adds_up,
    header,
    nearest_neighbours,
    texts_by_id,
)
from headrace.errors import ServiceError
from headrace.reading import read_topic
from headrace.service import LocalService
from headrace.settings_file import parse_settings
from headrace.settings_problems import SettingsError
from schemas import headers
from schemas.settings import KafkaSettings, RouteSettings

GIVE_UP_AFTER_S = 150.0
STATUS_LAG_S = 10.0
QUERY = "music-13"
NEIGHBOURS = 5
HUGE_INPUTS = 50_000


@dataclass(frozen=True, slots=True)
class DemoRecord:
    """One record to publish."""

    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


def demo_records(lines: list[bytes], now_ms: int) -> list[DemoRecord]:
    """Return the shipped lines, and the bad records that a file cannot hold.

    Args:
        lines: The shipped file's lines.
        now_ms: Epoch milliseconds, for a deadline that has passed.
    """
    body = {"model": "minilm", "input": "An answer to this comes too late to be of use."}
    late = {"custom_id": "bad-expired", "method": "POST", "url": "/v1/embeddings", "body": body}
    huge = {**late, "custom_id": "bad-too-many", "body": {"input": ["again"] * HUGE_INPUTS}}
    deadline = (headers.DEADLINE, b"%d" % (now_ms - 60_000))
    return [
        *(DemoRecord(line) for line in lines),
        DemoRecord(orjson.dumps(huge)),
        DemoRecord(orjson.dumps(late), headers=(deadline,)),
        DemoRecord(None, key=b"tombstone"),
    ]


def main() -> int:
    """Run the demo; returns the exit code."""
    lines = files("headrace").joinpath("data", "demo.jsonl").read_bytes().splitlines()
    settings = parse_settings(
        files("headrace").joinpath("data", "demo.yaml").read_bytes(), "demo.yaml"
    )
    out.print(f"[bold]Headrace demo[/]: {len(lines)} shipped lines, and a few that must fail")
    with tempfile.TemporaryDirectory(prefix="headrace-demo-") as data_dir:
        service = LocalService(settings, data_dir=Path(data_dir), use_ray="local", say=_say)
        with service:
            (route,) = service.settings.routes.values()
            records = demo_records(lines, SystemClock().epoch_ms())
            tally = asyncio.run(_run(service.settings.kafka, route, records))
            skipped_records = asyncio.run(_skipped_records(service, len(tally.tombstones)))
    return report(tally, lines, skipped_records)


async def _run(kafka: KafkaSettings, route: RouteSettings, records: list[DemoRecord]) -> Tally:
    """Publish, and read outcomes until every record has one or time is up."""
    tally = Tally()
    async with asyncio.TaskGroup() as tasks:
        with record_progress() as progress:
            bar = progress.add_task("embedding", total=len(records) - 1, records=0)

            def show() -> None:
                done = len(tally.outcomes)
                progress.update(bar, completed=done, records=done)

            readers = [
                tasks.create_task(_collect(kafka, topic, take, show))
                for topic, take in (
                    (route.results_topic, tally.add_result),
                    (route.dead_letters_topic, tally.add_dead_letter),
                )
            ]
            await _publish(kafka, route.requests_topic, records, tally)
            try:
                async with asyncio.timeout(GIVE_UP_AFTER_S):
                    while not tally.is_complete:  # noqa: ASYNC110 - two readers fill the tally
                        await asyncio.sleep(0.05)
            except TimeoutError:
                missing = sorted(tally.sent - tally.outcomes.keys())
                print_error(f"no outcome within {GIVE_UP_AFTER_S:.0f} s: {', '.join(missing[:10])}")
            show()
            for reader in readers:
                reader.cancel()
    return tally


async def _publish(
    kafka: KafkaSettings, topic: str, records: list[DemoRecord], tally: Tally
) -> None:
    producer = AIOKafkaProducer(**client_options(kafka), acks="all", enable_idempotence=True)
    await producer.start()
    try:
        sends = [
            await producer.send(topic, each.value, key=each.key, headers=list(each.headers))
            for each in records
        ]
        for each, placed in zip(records, await asyncio.gather(*sends), strict=True):
            place = headers.encode_source(topic, placed.partition, placed.offset).decode()
            (tally.tombstones if each.value is None else tally.sent).add(place)
    finally:
        await producer.stop()


async def _collect(
    kafka: KafkaSettings, topic: str, take: Callable[..., None], show: Callable[[], None]
) -> None:
    records = read_topic(kafka, topic, from_beginning=True, follow=True)
    async with aclosing(records):
        async for record in records:
            if record is not None:
                take(record)
                show()


async def _skipped_records(service: LocalService, expected: int) -> int:
    """Return the tombstones that the service says it skipped; it reports once a second."""
    skipped_records = 0
    for _ in range(int(STATUS_LAG_S)):
        statuses = await asyncio.to_thread(service.statuses)
        skipped_records = sum(status.skipped_records for status in statuses.values())
        if skipped_records >= expected:
            break
        await asyncio.sleep(1.0)
    return skipped_records


def report(tally: Tally, lines: list[bytes], skipped_records: int) -> int:
    """Print what went in and what came out; returns 0 where it adds up, else 1."""
    published = len(tally.sent) + len(tally.tombstones)
    counts = tally.counts(skipped_records)
    balance = Table("outcome", title="What came out", show_footer=True)
    balance.columns[0].footer = f"sum, of {count(published)} published"
    balance.add_column("records", justify="right", footer=count(counts.total()))
    for outcome, records in sorted(counts.items(), key=lambda item: (item[0] == SKIPPED, item[0])):
        balance.add_row(outcome, count(records))
    out.print(balance)

    letters = Table("source", "code", "reason", title="Dead letters")
    for record in tally.dead_letters:
        letters.add_row(
            header(record, headers.SOURCE),
            header(record, headers.ERROR_CODE),
            escape(header(record, headers.ERROR_MESSAGE)),
        )
    out.print(letters)

    texts = texts_by_id(lines)
    if QUERY in tally.vectors:
        near = Table("cosine", "sentence", title=f"Nearest to: {texts[QUERY]}")
        for name, score in nearest_neighbours(tally.vectors, QUERY, NEIGHBOURS):
            near.add_row(f"{score:.3f}", texts[name])
        out.print(near)

    if adds_up(tally, skipped_records):
        out.print(f"All {count(published)} records are accounted for, each once.", style="green")
        return 0
    print_error(
        f"this does not add up: {len(tally.sent)} records and {len(tally.tombstones)} tombstones "
        f"went in; {len(tally.outcomes)} outcomes, {tally.repeats} repeats and {skipped_records} "
        "skipped came out"
    )
    return 1


def _say(line: str) -> None:
    err.print(f"  {escape(line)}", style="dim", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BrokerStartError, ServiceError, SettingsError, SourceError) as error:
        print_error(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
