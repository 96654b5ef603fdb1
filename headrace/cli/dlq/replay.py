"""``headrace dlq replay``: publishes dead letters again as requests."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from handoff.clock import SystemClock
from headrace.cli.dlq.handle import Job, Planned, handle
from headrace.cli.dlq.options import DryRunOption, Filters, LimitOption, YesOption, with_filters
from headrace.cli.dlq.output import survey_notes
from headrace.cli.options import ConfigOption, JsonOption, read_settings
from headrace.cli.output import count, print_error, print_json, print_line
from headrace.dead_letters import handling
from headrace.dead_letters.replay import Pace, ReplayReport, Targets
from headrace.errors import UserError
from schemas.settings.file import Settings


@with_filters
def replay(
    filters: Filters,
    limit: LimitOption = None,
    to: Annotated[
        str | None, typer.Option("--to", help="Another topic in place of the requests topic.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", min=0.01, help="The most requests a second.")
    ] = None,
    drop_deadlines: Annotated[
        bool, typer.Option("--drop-deadlines", help="Leave headrace-deadline out.")
    ] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Publish dead letters again as requests: key, value and headers as they first came.

    Each counts as handled once it is published, in one transaction: after an interruption the same
    command goes on, and replays nothing twice. Exits with 1 where some could not be replayed.
    """
    settings = read_settings(config)
    check_target(settings, to)
    by_route = {name: each.requests_topic for name, each in settings.routes.items()}
    job = _Replay(settings, Targets(by_route, topic=to), Pace(rate), not drop_deadlines)
    handle(job, settings, filters, limit, dry_run=dry_run, yes=yes, json=json)
    if job.state.left_records:
        raise typer.Exit(1)


class _Replay(Job):
    name, done, doing = "replay", "replayed", "replaying"

    def __init__(
        self, settings: Settings, targets: Targets, pace: Pace, keeps_deadline: bool
    ) -> None:
        super().__init__(settings.results_cluster, targets, is_clearing=False)
        self._requests = None if settings.results_kafka is None else settings.kafka
        self._pace = pace
        self._keeps_deadline = keeps_deadline
        self.state = ReplayReport()

    def notes(self, planned: Planned) -> list[str]:
        return survey_notes(planned.inbox.topic, planned.survey)

    def to_dict(self, planned: Planned) -> dict[str, Any]:
        return planned.survey.to_dict()

    def question(self, records: int) -> str:
        return f"Replay {count(records)} dead letters?"

    async def run(self, planned: Planned, show: Callable[[int, int], None]) -> None:
        if not planned.survey.tally.records:
            return
        state = self.state
        await handling.replay(
            self.kafka,
            planned.inbox,
            planned.request,
            targets=self.targets,
            pace=self._pace,
            keeps_deadline=self._keeps_deadline,
            clock=SystemClock(),
            report=state,
            requests=self._requests,
            replayed=lambda: show(
                state.replayed_records + state.left_records, state.replayed_records
            ),
        )

    def report(self, *, is_json: bool) -> None:
        for problem in self.state.problems:
            print_error(problem)
        if is_json:
            print_json(self.state.to_dict())
            return
        left_records = self.state.left_records
        left = f", {count(left_records)} could not be" if left_records else ""
        print_line(f"{count(self.state.replayed_records)} dead letters replayed{left}")


def check_target(settings: Settings, topic: str | None) -> None:
    """Refuse a topic that a route writes to: the service would read its own results."""
    for name, route in settings.routes.items():
        if topic in (route.results_topic, route.dead_letters_topic):
            raise UserError(
                f"--to: {topic} is where routes.{name} writes; name a topic that takes requests"
            )
