"""The manifest beside OUT: what changes a job's results, so that no other job goes on with them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from headrace_client.bulk.output.files import LOCAL_FILES
from headrace_client.errors import ClientError

FORMAT = 1
_MOST_NAMED = 12
_MOST_CHARACTERS = 80


class ManifestError(ClientError):
    """The state beside OUT is another job's, or cannot be read; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a job is.

    Attributes:
        job: The job's id, which its requests carry.
        created_at_ms: When it was first started, in milliseconds since 1970.
        fingerprint: All that changes results, as plain JSON values: nested, compared leaf by leaf.
        inputs: The input files in the order in which they are read, each as the reader describes
            it. More may follow, and the last may have grown.
    """

    job: str
    created_at_ms: int
    fingerprint: Mapping[str, Any]
    inputs: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One field in which two jobs differ; a field that one of them lacks is ``None`` there."""

    field: str
    there: Any
    here: Any

    def __str__(self) -> str:
        return f"{self.field}: {_short(self.there)} there, {_short(self.here)} here"


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[Difference]:
    """Return the fields in which two fingerprints differ, by name."""
    before, now = dict(_leaves(there)), dict(_leaves(here))
    return [
        Difference(field, before.get(field), now.get(field))
        for field in sorted(before.keys() | now.keys())
        if before.get(field) != now.get(field)
    ]


def check_same_job(found: Manifest, fingerprint: Mapping[str, Any], place: Path) -> None:
    """Raise ``ManifestError``, which names every difference, if ``found`` is another job."""
    differing = differences(found.fingerprint, fingerprint)
    if not differing:
        return
    lines = [f"  {each}" for each in differing[:_MOST_NAMED]]
    if len(differing) > _MOST_NAMED:
        lines.append(f"  … and {len(differing) - _MOST_NAMED} more")
    raise ManifestError(
        f"{place} holds another job ({found.job}); it differs in\n"
        + "\n".join(lines)
        + "\nRun that job with its own options, name another OUT, or begin anew with --restart, "
        "which deletes what that job has"
    )


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write it durably, whole or not at all."""
    content = orjson.dumps(
        {
            "format": FORMAT,
            "job": manifest.job,
            "created_at_ms": manifest.created_at_ms,
            "fingerprint": dict(manifest.fingerprint),
            "inputs": [dict(each) for each in manifest.inputs],
        },
        option=orjson.OPT_INDENT_2,
    )
    LOCAL_FILES.write_whole(path, content + b"\n")


def read_manifest(path: Path) -> Manifest | None:
    """Return the manifest; ``None`` if there is none. Raises ``ManifestError``."""
    try:
        document = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ManifestError(
            f"{path} cannot be read ({error}); begin anew with --restart, or put the file back"
        ) from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ManifestError(
            f"{path} is of another release of headrace-client: go on with that one, or begin anew "
            "with --restart"
        )
    return Manifest(
        job=document["job"],
        created_at_ms=document["created_at_ms"],
        fingerprint=document["fingerprint"],
        inputs=tuple(document["inputs"]),
    )


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", list(value) if isinstance(value, tuple) else value


def _short(value: Any) -> str:
    if value is None:
        return "unset"
    text = orjson.dumps(value).decode()
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"
