"""What is on this machine of the sources: here, missing or damaged."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headrace.cli.models.choosing import NamedSource
from headrace.cli.models.display import TransferDisplay, describe_bytes
from headrace.cli.models.pulling import title_of
from headrace.cli.output import print_table

Standing = dict[str, Any]
_SHOWN_CHARACTERS = 12


def look_at(
    sources: Sequence[NamedSource], cache_dir: Path | None, *, reads_all: bool = False
) -> list[Standing]:
    """Return how each source stands; with ``reads_all`` compares the checksums of pulled files."""
    found = []
    with TransferDisplay() as display:
        for each in sources:
            display.show(each.title)
            found.append(_look_at(each, cache_dir, display if reads_all else None))
    return found


def _look_at(
    each: NamedSource, cache_dir: Path | None, display: TransferDisplay | None
) -> Standing:
    # Slow to import, as in ``pulling``.
    from serve_models.weights.receipts import read_receipt, receipt_file  # noqa: PLC0415
    from serve_models.weights.references import ModelSourceError, parse_source  # noqa: PLC0415
    from serve_models.weights.sources import default_cache_dir, resolve  # noqa: PLC0415

    cache = cache_dir or default_cache_dir()
    standing: Standing = {
        "model": each.model,
        "field": each.source.field,
        "source": each.source.source,
        "state": "here",
        "revision": "",
        "size_bytes": 0,
        "files": 0,
        "checksums": "not compared",
        "path": "",
        "why": "",
        "backend": "",
        "backend_reason": "",
    }
    try:
        source = parse_source(each.source.source)
        file = receipt_file(cache, source, each.source.part, with_code=each.source.trusts_code)
        receipt = read_receipt(file)
        directory = resolve(each.source, cache_dir, converts=False)
    except ModelSourceError as error:
        why = str(error).removeprefix("source: ")
        return {**standing, "state": "missing", "why": why}
    standing["path"] = str(directory)
    if receipt is None:
        sizes = [path.stat().st_size for path in directory.rglob("*") if path.is_file()]
        return {
            **standing,
            "size_bytes": sum(sizes),
            "files": len(sizes),
            "checksums": "none known",
        }
    standing |= {
        "revision": receipt.revision,
        "size_bytes": receipt.size_bytes,
        "files": len(receipt.files),
    }
    if display is not None:
        display.begin(receipt.size_bytes)
        changed = receipt.find_changed(cache, display.advance)
        standing["checksums"] = "differ" if changed else "right"
        if changed:
            standing |= {
                "state": "damaged",
                "why": "; ".join(changed) + "; fetch it again with `headrace models pull --force`",
            }
    return standing


def show_standing(found: Sequence[Standing], *, shows_backends: bool = False) -> None:
    print_table(
        *("model", "source", "state", "size"),
        *(["backend"] if shows_backends else []),
        "where",
        rows=[
            (
                title_of(each),
                each["source"],
                _describe(each),
                describe_bytes(each["size_bytes"]) if each["size_bytes"] else "",
                *([_describe_backend(each)] if shows_backends else []),
                each["path"],
            )
            for each in found
        ],
    )


def _describe_backend(standing: Standing) -> str:
    backend, reason = standing["backend"], standing["backend_reason"]
    return f"{backend}\n{reason}" if backend else ""


def _describe(standing: Standing) -> str:
    lines = [standing["state"]]
    if standing["checksums"] in {"right", "differ"}:
        lines.append(f"checksums {standing['checksums']}")
    if standing["revision"]:
        lines.append(standing["revision"].removeprefix("sha256:")[:_SHOWN_CHARACTERS])
    return "\n".join(lines)
