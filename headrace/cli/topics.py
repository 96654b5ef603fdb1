"""``headrace topics``: the topics that the routes need."""

import typer
from rich.table import Table

from headrace.cli.options import ConfigOption, JsonOption, read_settings
from headrace.cli.output import out, print_json
from headrace.topics import create_missing_topics

topics_app = typer.Typer(help="The topics that the routes need.", no_args_is_help=True)


@topics_app.callback()
def topics() -> None:
    """The topics that the routes need."""


@topics_app.command("create")
def create(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Create the topics that are missing; those that exist stay as they are."""
    outcomes = create_missing_topics(read_settings(config))
    if json:
        print_json(
            [
                {
                    "topic": one.topic,
                    "state": one.state,
                    "partitions": one.partitions,
                    "wanted_partitions": one.wanted_partitions,
                }
                for one in outcomes
            ]
        )
        return
    table = Table("topic", "state", "partitions", "remark")
    for one in outcomes:
        remark = ""
        if one.state == "differs":
            remark = (
                f"the settings say {one.wanted_partitions}; left as it is, since adding "
                "partitions moves keys"
            )
        table.add_row(one.topic, one.state, str(one.partitions), remark)
    out.print(table)
