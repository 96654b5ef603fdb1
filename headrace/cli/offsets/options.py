"""Options and arguments that the ``headrace offsets`` commands share."""

from typing import Annotated

import typer

PartitionsOption = Annotated[
    list[int] | None,
    typer.Option(
        "--partition", "-P", min=0, help="Only this partition; may be given several times."
    ),
]
YesOption = Annotated[
    bool, typer.Option("--yes", "-y", help="Do it. Without, only say what would be done.")
]
PartitionArgument = Annotated[
    int, typer.Argument(min=0, help="The partition's number.", show_default=False)
]
