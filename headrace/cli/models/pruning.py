"""Removes what later pulls have replaced from the cache."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headrace.cli.models.display import describe_bytes
from headrace.cli.output import print_line, print_table

Pruned = dict[str, Any]


def prune_cache(cache_dir: Path | None, *, removes: bool) -> list[Pruned]:
    """Return the revisions that are superseded, and whether each was removed."""
    # Slow to import, as in ``pulling``.
    from serve_models.weights.sources import default_cache_dir  # noqa: PLC0415
    from serve_models.weights.superseded import (  # noqa: PLC0415
        find_superseded,
        remove_superseded,
    )

    cache = cache_dir or default_cache_dir()
    found = find_superseded(cache)
    removed = set(remove_superseded(cache, found)) if removes else set()
    return [
        {
            "source": each.source,
            "path": str(each.directory),
            "size_bytes": each.size_bytes,
            "removed": each in removed,
        }
        for each in found
    ]


def show_pruned(found: Sequence[Pruned]) -> None:
    if not found:
        print_line("Nothing in the cache is superseded")
        return
    print_table(
        *("source", "revision", "size", "removed"),
        rows=[
            (
                each["source"],
                Path(each["path"]).name,
                describe_bytes(each["size_bytes"]),
                "yes" if each["removed"] else "no",
            )
            for each in found
        ],
    )
