"""``headrace dlq purge``: marks dead letters as handled, and deletes their records."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from headrace.cli.dlq.handle import Job, Planned, handle
from headrace.cli.dlq.options import DryRunOption, Filters, LimitOption, YesOption, with_filters
from headrace.cli.options import ConfigOption, JsonOption, read_settings
from headrace.cli.output import count, print_json, print_line
from headrace.dead_letters import handling
from headrace.dead_letters.replay import Targets
from schemas.settings.file import KafkaSettings


@with_filters
def purge(
    filters: Filters,
    limit: LimitOption = None,
    keep_records: Annotated[
        bool, typer.Option("--keep-records", help="Delete nothing from the topic.")
    ] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Count dead letters as handled, and delete the records that stand before all unhandled ones.

    Kafka deletes from the beginning of a partition only. So what the filters leave out stays, and
    so do the handled ones behind it, hidden, until nothing unhandled stands before them.
    """
    settings = read_settings(config)
    job = _Purge(settings.results_cluster, is_clearing=not keep_records)
    handle(job, settings, filters, limit, dry_run=dry_run, yes=yes, json=json)


class _Purge(Job):
    name, done, doing = "purge", "put aside", "purging"

    def __init__(self, kafka: KafkaSettings, *, is_clearing: bool) -> None:
        super().__init__(kafka, Targets({}), is_clearing=is_clearing)
        self._purged_records = 0
        self._deleted_below: dict[str, dict[int, int]] = {}

    def concerns(self, planned: Planned) -> bool:
        return bool(planned.survey.tally.records or planned.survey.clear_below)

    def notes(self, planned: Planned) -> list[str]:
        if not self.is_clearing:
            return []
        inbox, below = planned.inbox, planned.survey.clear_below
        return [
            f"{inbox.topic}/{number}: offsets {inbox.ranges[number].start} to {offset - 1} are "
            "deleted"
            for number, offset in below.items()
        ] or [f"{inbox.topic}: nothing is deleted, as unhandled ones stand before"]

    def to_dict(self, planned: Planned) -> dict[str, Any]:
        below = planned.survey.clear_below
        return {**planned.survey.tally.to_dict(), "delete_below": _with_text_keys(below)}

    def question(self, records: int) -> str:
        also = ", and delete what stands before all unhandled ones" if self.is_clearing else ""
        return f"Put {count(records)} dead letters aside{also}?"

    async def run(self, planned: Planned, show: Callable[[int, int], None]) -> None:
        def purged(more_records: int) -> None:
            self._purged_records += more_records
            show(self._purged_records, self._purged_records)

        self._deleted_below[planned.inbox.topic] = await handling.purge(
            self.kafka,
            planned.inbox,
            planned.request,
            keeps_records=not self.is_clearing,
            purged=purged,
        )

    def report(self, *, is_json: bool) -> None:
        deleted = self._deleted_below
        if is_json:
            below = {topic: _with_text_keys(offsets) for topic, offsets in deleted.items()}
            print_json({"purged_records": self._purged_records, "deleted_below": below})
            return
        print_line(f"{count(self._purged_records)} dead letters put aside")
        for topic, offsets in deleted.items():
            for number, offset in offsets.items():
                print_line(f"{topic}/{number}: deleted below offset {offset}")


def _with_text_keys(offsets: dict[int, int]) -> dict[str, int]:
    return {str(number): offset for number, offset in offsets.items()}
