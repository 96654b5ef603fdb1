"""Pulls several sources, and shows what became of each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from handoff.clock import AwakeClock, Clock
from headrace.cli.models.choosing import NamedSource
from headrace.cli.models.display import TransferDisplay, describe_bytes, describe_s
from headrace.cli.output import print_note, print_table
from headrace.errors import UserError

Outcome = dict[str, Any]


def pull_each(
    sources: Sequence[NamedSource],
    *,
    cache_dir: Path | None = None,
    most_bytes: float | None = None,
    only_missing: bool = False,
    is_forced: bool = False,
    clock: Clock | None = None,
) -> list[Outcome]:
    """Fetch each source; one that fails is an outcome, too, and the others go on."""
    # The hub's client is slow to import, and the other commands do not need it.
    from serve_models.weights.pulling import DEFAULT_MOST_BYTES, pull  # noqa: PLC0415 - see above
    from serve_models.weights.references import ModelSourceError  # noqa: PLC0415 - see above

    clock = clock or AwakeClock()
    outcomes = []
    with TransferDisplay(clock) as display:
        for each in sources:
            display.show(each.title)
            began = clock.monotonic()
            outcome = _outcome(each)
            try:
                pulled = pull(
                    each.source,
                    cache_dir,
                    only_missing=only_missing,
                    is_forced=is_forced,
                    most_bytes=DEFAULT_MOST_BYTES if most_bytes is None else most_bytes,
                    progress=display,
                )
            except ModelSourceError as error:
                outcome |= {"done": "failed", "why": str(error).removeprefix("source: ")}
            else:
                outcome |= {
                    "done": pulled.done,
                    "fetched_bytes": pulled.fetched_bytes,
                    "size_bytes": pulled.size_bytes,
                    "files": pulled.files,
                    "seconds": round(clock.monotonic() - began, 3),
                    "revision": pulled.revision,
                    "path": str(pulled.directory),
                    "why": pulled.why_kept,
                }
            outcomes.append(outcome)
    return outcomes


def pull_all(sources: Sequence[NamedSource], **options: Any) -> list[Outcome]:
    """Fetch each source, as ``pull_each`` does, for a command that needs them all.

    Raises ``UserError``, which names those that failed.
    """
    outcomes = pull_each(sources, **options)
    note_kept(outcomes)
    if failures := failure_lines(outcomes):
        raise UserError("; ".join(failures))
    return outcomes


def note_kept(outcomes: Sequence[Outcome]) -> None:
    for each in outcomes:
        if each["done"] == "kept":
            print_note(f"{each['model']}: the copy on this machine is used: {each['why']}")


def failure_lines(outcomes: Sequence[Outcome]) -> list[str]:
    return [what_is_wrong(each) for each in outcomes if each["done"] == "failed"]


def show_outcomes(outcomes: Sequence[Outcome]) -> None:
    print_table(
        *("model", "source", "done", "size", "where"),
        rows=[
            (
                title_of(each),
                each["source"],
                _describe(each),
                describe_bytes(each["size_bytes"]) if each["size_bytes"] else "",
                each["path"],
            )
            for each in outcomes
        ],
    )


def _outcome(each: NamedSource) -> Outcome:
    return {
        "model": each.model,
        "field": each.source.field,
        "source": each.source.source,
        "part": each.source.part,
        "done": "failed",
        "fetched_bytes": 0,
        "size_bytes": 0,
        "files": 0,
        "seconds": 0.0,
        "revision": "",
        "path": "",
        "why": "",
    }


def title_of(row: Mapping[str, Any]) -> str:
    """Return the model's name, and the setting if it is not the model's own source."""
    model, field = row["model"], row["field"]
    return model if field == "source" else f"{model}\n{field}"


def what_is_wrong(row: Mapping[str, Any]) -> str:
    """Return what is wrong with a source, with who needs it unless it stands for itself."""
    if row["model"] == row["source"]:
        return str(row["why"])
    return f"models.{row['model']}.{row['field']}: {row['why']}"


def _describe(outcome: Outcome) -> str:
    match outcome["done"]:
        case "fetched":
            return (
                f"fetched {describe_bytes(outcome['fetched_bytes'])} in "
                f"{describe_s(outcome['seconds'])}"
            )
        case "here":
            return "was here"
        case "kept":
            return "kept: the source did not answer"
        case _:
            return "failed"
