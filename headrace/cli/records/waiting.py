"""The wait of ``headrace submit --wait``: a bar, the result lines, and a summary."""

from collections.abc import Iterable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from handoff.clock import Clock
from headrace.cli.output import count, open_output, print_note, print_table, record_progress
from headrace.records.awaiting import OutcomeReader
from headrace.records.outcomes import Outcomes
from headrace_client.wire.names import Place
from schemas.settings.file import KafkaSettings


class Waiting:
    """Waits for the outcomes of what one command sends; a context manager of its output file."""

    def __init__(
        self,
        kafka: KafkaSettings,
        route: str,
        topics: Iterable[str],
        *,
        output: Path | None,
        clock: Clock,
    ) -> None:
        self._route = route
        self._reader = OutcomeReader(kafka, topics, clock)
        self._output = output
        self._begun_ms = clock.epoch_ms()
        self._outcomes = Outcomes()
        self._stack = ExitStack()
        self._sink: BinaryIO | None = None

    def __enter__(self) -> Self:
        if self._output is not None:
            self._sink = self._stack.enter_context(open_output(self._output))
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()
        if exc_type is not None and (awaited := self._outcomes.awaited_records):
            since = datetime.fromtimestamp(self._begun_ms / 1000, UTC).isoformat()
            print_note(
                f"{count(awaited)} records were sent, and have no result yet; they go on. To read "
                f"all of them: headrace results --route {self._route} --since {since}"
            )

    def reading(self) -> OutcomeReader:
        """Return what begins to read where the topics end: nothing that is sent in it is missed."""
        return self._reader

    def await_place(self, place: Place) -> None:
        self._outcomes.await_place(place)

    async def wait(self) -> None:
        outcomes = self._outcomes
        with record_progress() as progress:
            bar = progress.add_task("waiting", total=outcomes.awaited_records, records=0)

            def show() -> None:
                done = outcomes.done_records
                failed = f", {count(outcomes.failed_records)} failed"
                description = f"waiting{failed if outcomes.failed_records else ''}"
                progress.update(bar, completed=done, records=done, description=description)

            await self._reader.read(
                outcomes, write=self._write, show=show, note_silence=self._note_silence
            )

    @property
    def failed_records(self) -> int:
        return self._outcomes.failed_records

    @property
    def report(self) -> dict[str, Any]:
        return {
            "answered_records": self._outcomes.done_records - self._outcomes.failed_records,
            "failed_records": self._outcomes.failed_records,
            "outcomes": dict(self._outcomes.counts.most_common()),
        }

    def print_summary(self) -> None:
        rows = [(code, count(records)) for code, records in self._outcomes.counts.most_common()]
        print_table("outcome", "records", rows=rows)
        if self._output is not None:
            print_note(f"{count(self._outcomes.done_records)} results written to {self._output}")

    def _write(self, line: bytes) -> None:
        if self._sink is not None:
            self._sink.write(line + b"\n")

    def _note_silence(self) -> None:
        print_note(
            "no result yet: does a service run for this route? `headrace status` tells; this "
            "command goes on waiting, and Ctrl-C loses nothing"
        )
