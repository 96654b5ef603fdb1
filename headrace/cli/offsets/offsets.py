"""``headrace offsets``: shows what a route's group has committed, and changes it."""

import typer

from headrace.cli.offsets.replay import replay
from headrace.cli.offsets.seek import seek
from headrace.cli.offsets.show import show
from headrace.cli.offsets.skip import skip

offsets_app = typer.Typer(
    help="Offsets of a route's group: show, seek, skip, replay.", no_args_is_help=True
)
offsets_app.command("show")(show)
offsets_app.command("seek")(seek)
offsets_app.command("skip")(skip)
offsets_app.command("replay")(replay)


@offsets_app.callback()
def offsets() -> None:
    """What a route's group has committed: the offset, and the completion map above it.

    seek, skip and replay change it, and keep the map: what is done stays done. They need a group
    without members: `headrace route pause ROUTE` first. They ask Kafka alone; no service need run.
    """
