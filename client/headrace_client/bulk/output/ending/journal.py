"""What an end has still to do, once all that it needs is written.

From the moment the journal is there the end is decided: whoever finds it goes on.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import orjson

from headrace_client.bulk.output.errors import OutputError
from headrace_client.bulk.output.files import Files

NAME = "ending.json"
_VERSION = 1


class Action(StrEnum):
    REPLACE = "replace"
    """Rename a local file over another."""
    SWAP = "swap"
    """Put a local directory in the place of another."""
    UPLOAD = "upload"
    UPLOAD_TREE = "upload_tree"
    REMOVE = "remove"
    """The target, local or remote."""


@dataclass(frozen=True, slots=True)
class Step:
    """Done where the source is gone; to do it again changes nothing."""

    action: Action
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Finished:
    """What the job left in OUT and in the failed file.

    A .npy has rows for failed rows too.
    """

    rows: int
    failed_rows: int
    out_bytes: int


@dataclass(frozen=True, slots=True)
class Journal:
    steps: tuple[Step, ...]
    finished: Finished

    def write(self, directory: Path, files: Files) -> None:
        files.write_whole(directory / NAME, orjson.dumps({"version": _VERSION} | asdict(self)))

    @classmethod
    def read(cls, directory: Path) -> "Journal | None":
        path = directory / NAME
        try:
            value = orjson.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            value = {}
        if value.get("version") != _VERSION:
            raise OutputError(
                f"{path} is not of this release of headrace-client: finish the job with the one "
                "that began it"
            )
        steps = tuple(
            Step(Action(each["action"]), each["source"], each["target"]) for each in value["steps"]
        )
        return cls(steps, Finished(**value["finished"]))
