"""``make demo``: runs shipped sentences and prompts through Kafka and real models, locally.

Sentences are embedded; prompts go through a safety classifier to a chat model; some records must
fail. The demo fails if the records that went in and came out do not add up.
"""

import asyncio
import tempfile
from collections.abc import Callable
from contextlib import aclosing
from importlib.resources import files
from pathlib import Path

from aiokafka import AIOKafkaProducer
from rich.markup import escape

from consumer.kafka.client.connection import client_options
from handoff.clock import SystemClock
from headrace.cli.output import err, out, print_error, record_progress
from headrace.demo.models import prepare_models
from headrace.demo.records import DemoRecord, demo_records
from headrace.demo.report import Tally
from headrace.demo.tables import report
from headrace.demo.trial import is_watched, let_try, say_how_to_go_on
from headrace.records.reading import read_topic
from headrace.service.service import LocalService
from headrace.settings.file import parse_settings
from schemas.settings.file import KafkaSettings, Settings
from schemas.wire import headers

GIVE_UP_AFTER_S = 150.0
STATUS_LAG_S = 10.0


def main() -> int:
    text_lines = _shipped("demo.jsonl").splitlines()
    chat_lines = _shipped("demo-chat.jsonl").splitlines()
    settings = parse_settings(_shipped("demo.yaml"), "demo.yaml")
    out.print(
        f"[bold]Headrace demo[/]: {len(text_lines)} lines to embed, {len(chat_lines)} to chat "
        "about, and a few that must fail"
    )
    settings = prepare_models(settings)
    with tempfile.TemporaryDirectory(prefix="headrace-demo-") as data_dir:
        service = LocalService(settings, data_dir=Path(data_dir), use_ray="local", say=_say)
        with service:
            now_ms = SystemClock().epoch_ms()
            records = {
                "embeddings": demo_records(text_lines, now_ms),
                "chat": [DemoRecord(line) for line in chat_lines],
            }
            tally = asyncio.run(_run(service.settings, records))
            skipped_records = asyncio.run(_skipped_records(service, len(tally.tombstones)))
            exit_code = report(tally, text_lines, chat_lines, skipped_records)
            if is_watched():
                let_try(service.settings, Path(data_dir))
    if not is_watched():
        say_how_to_go_on()
    return exit_code


async def _run(settings: Settings, records: dict[str, list[DemoRecord]]) -> Tally:
    kafka, tally = settings.kafka, Tally()
    total = sum(each.value is not None for route in records.values() for each in route)
    async with asyncio.TaskGroup() as tasks:
        with record_progress() as progress:
            bar = progress.add_task("answering", total=total, records=0)

            def show() -> None:
                done = len(tally.outcomes)
                progress.update(bar, completed=done, records=done)

            readers = [
                tasks.create_task(_collect(kafka, topic, take, show))
                for route in settings.routes.values()
                for topic, take in (
                    (route.results_topic, tally.add_result),
                    (route.dead_letters_topic, tally.add_dead_letter),
                )
            ]
            for name, of_route in records.items():
                await _publish(kafka, settings.routes[name].requests_topic, of_route, tally)
            try:
                async with asyncio.timeout(GIVE_UP_AFTER_S):
                    while not tally.is_complete:  # noqa: ASYNC110 - the readers fill the tally
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
    skipped_records = 0
    for _ in range(int(STATUS_LAG_S)):
        statuses = await asyncio.to_thread(service.statuses)
        skipped_records = sum(status.skipped_records for status in statuses.values())
        if skipped_records >= expected:
            break
        await asyncio.sleep(1.0)
    return skipped_records


def _shipped(name: str) -> bytes:
    return files("headrace").joinpath("data", name).read_bytes()


def _say(line: str) -> None:
    err.print(f"  {escape(line)}", style="dim", highlight=False, soft_wrap=True)
