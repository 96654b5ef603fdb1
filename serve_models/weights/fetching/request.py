"""What is asked of a fetch, what it says meanwhile, and what it ends in."""

import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from schemas.settings.sources import Part
from serve_models.weights.completeness import PICKLED_WEIGHTS
from serve_models.weights.receipts import FileMark, Receipt
from serve_models.weights.references import ModelSourceError

_GIB = 2**30
_MOST_CHARACTERS = 300
_QUERY = re.compile(r"\?[^\s'\"<>)]+=[^\s'\"<>)]*")


class Progress(Protocol):
    """Is told how far a fetch has come, from any thread."""

    def begin(self, total_bytes: int) -> None: ...

    def advance(self, count_bytes: int) -> None: ...

    def note(self, line: str) -> None: ...


class Unwatched:
    """Progress that nobody sees."""

    def begin(self, total_bytes: int) -> None:
        del total_bytes

    def advance(self, count_bytes: int) -> None:
        del count_bytes

    def note(self, line: str) -> None:
        del line


class Request(NamedTuple):
    """What of a source is needed, and on which terms.

    Attributes:
        most_bytes: A source with more is refused.
        is_forced: Fetch again what is here.
    """

    part: Part
    with_code: bool
    most_bytes: float
    is_forced: bool


class Fetched(NamedTuple):
    """What a fetch has left in the cache.

    Attributes:
        directory: Relative to the cache.
        revision: Another one means other files.
        fetched_bytes: What came over the network; the rest was here.
    """

    directory: str
    revision: str
    files: Mapping[str, FileMark]
    fetched_bytes: int


def check_sizes(total_bytes: int, missing_bytes: int, request: Request, cache_dir: Path) -> None:
    """Raise ``ModelSourceError`` if a source is too large for the settings, or for the disk."""
    if total_bytes > request.most_bytes:
        raise ModelSourceError(
            f"source: has {total_bytes / _GIB:,.1f} GiB, and weights.max_model_gib allows "
            f"{request.most_bytes / _GIB:,.4g}; raise it"
        )
    cache_dir.mkdir(parents=True, exist_ok=True)
    free_bytes = shutil.disk_usage(cache_dir).free
    if missing_bytes > free_bytes:
        raise ModelSourceError(
            f"source: {missing_bytes / _GIB:,.1f} GiB are to come, and {cache_dir} has room for "
            f"{free_bytes / _GIB:,.1f}; free some, or set weights.cache to a larger disk"
        )


def no_files(request: Request, listed: Iterable[str]) -> ModelSourceError:
    """Return the error for a source whose files are none that are wanted."""
    pickled = sorted(path for path in listed if path.endswith(PICKLED_WEIGHTS))
    if request.part == "weights" and pickled:
        return ModelSourceError(
            f"source: has {', '.join(pickled[:3])} but no safetensors, and pickles are not loaded "
            "because they can run code; convert it with save_pretrained"
        )
    wanted = "*.safetensors" if request.part == "weights" else f"files of a {request.part}"
    return ModelSourceError(f"source: there are no {wanted} in it")


def describe_error(error: Exception) -> str:
    """Return an error of a store's client on one line, without the signatures in its URLs."""
    words = _QUERY.sub("?…", " ".join(str(error).split()))
    text = f"{type(error).__name__}: {words}" if words else type(error).__name__
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "…"


def unchanged(known: Receipt) -> Fetched:
    return Fetched(known.directory, known.revision, known.files, 0)
