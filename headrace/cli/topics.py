"""``headrace topics``: creates the topics that the routes need."""

import typer

from headrace.cli.options import ConfigOption, JsonOption, read_settings
from headrace.cli.output import print_json, print_note, print_table
from headrace.topics import create_missing_topics, describe_report, find_unfit_topics

topics_app = typer.Typer(help="The topics that the routes need.", no_args_is_help=True)


@topics_app.callback()
def topics() -> None:
    """The topics that the routes need."""


@topics_app.command("create")
def create(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Create the topics that are missing; those that exist stay as they are."""
    settings = read_settings(config)
    reports = create_missing_topics(settings)
    for problem in find_unfit_topics(settings):
        print_note(f"Warning: {problem}")
    if json:
        print_json(
            [
                {
                    "topic": report.topic,
                    "created": report.is_created,
                    "partitions": report.found.partitions,
                    "wanted_partitions": report.wanted.partitions,
                    "problem": report.problem,
                }
                for report in reports
            ]
        )
        return
    rows = [(report.topic, describe_report(report)) for report in reports]
    print_table("topic", "state", rows=rows)
