"""What a finished pull leaves: where the files are, how long each is, and its checksum.

A source counts as pulled if it has a receipt. It is written last, so an interrupted pull has none.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from schemas.settings.sources import Part
from serve_models.weights.references import Source

_READ_BYTES = 4 * 1024 * 1024
_THREADS = 4
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class FileMark:
    """A file as it arrived."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A finished pull.

    Attributes:
        source: The source, as ``Source.text`` writes it.
        revision: The commit, digest or listing that the files are of.
        directory: The checkpoint, relative to the cache.
        files: By path below the directory.
    """

    source: str
    revision: str
    directory: str
    files: Mapping[str, FileMark]

    @property
    def size_bytes(self) -> int:
        return sum(mark.size_bytes for mark in self.files.values())

    def find_damage(self, cache_dir: Path) -> list[str]:
        """Return a line on each file that is missing or has another length."""
        problems = []
        for path, mark in self.files.items():
            file = cache_dir / self.directory / path
            if not file.is_file():
                problems.append(f"{path} is missing")
            elif file.stat().st_size != mark.size_bytes:
                problems.append(f"{path} has {file.stat().st_size:,} of {mark.size_bytes:,} bytes")
        return problems

    def find_changed(
        self, cache_dir: Path, advance: Callable[[int], None] = lambda _bytes: None
    ) -> list[str]:
        """Return a line on each file that is not as it arrived; reads every byte."""
        problems = self.find_damage(cache_dir)
        if problems:
            return problems
        found = mark_files(cache_dir / self.directory, self.files, advance)
        return [
            f"{path} has another checksum than when it arrived"
            for path, mark in self.files.items()
            if found[path] != mark
        ]


def suffix_of(part: Part, *, with_code: bool) -> str:
    """Return what tells apart the parts of one source in the cache; empty for plain weights."""
    kind = "" if part == "weights" else f".{part}"
    return f"{kind}.code" if with_code else kind


def receipt_file(cache_dir: Path, source: Source, part: Part, *, with_code: bool) -> Path:
    suffix = suffix_of(part, with_code=with_code)
    return cache_dir / "receipts" / f"{source.folder_name}{suffix}.json"


def read_receipt(file: Path) -> Receipt | None:
    """Return a receipt; ``None`` if there is none that can be read."""
    try:
        values = json.loads(file.read_bytes())
        if values.pop("format") != _FORMAT:
            return None
        files = {path: FileMark(**mark) for path, mark in values.pop("files").items()}
        return Receipt(**values, files=files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_receipt(file: Path, receipt: Receipt) -> None:
    """Write it whole, or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    values = {"format": _FORMAT, **asdict(receipt)}
    descriptor, draft = tempfile.mkstemp(prefix=".draft-", dir=file.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        json.dump(values, opened, indent=1)
        opened.flush()
        os.fchmod(opened.fileno(), 0o644)
        os.fsync(opened.fileno())
    Path(draft).replace(file)


def mark_files(
    directory: Path,
    paths: Mapping[str, object] | list[str],
    advance: Callable[[int], None] = lambda _bytes: None,
) -> dict[str, FileMark]:
    """Return size and SHA-256 of files below ``directory``, several read at a time."""

    def mark(path: str) -> FileMark:
        digest, size_bytes = hashlib.sha256(), 0
        with (directory / path).open("rb") as opened:
            while piece := opened.read(_READ_BYTES):
                digest.update(piece)
                size_bytes += len(piece)
                advance(len(piece))
        return FileMark(size_bytes, digest.hexdigest())

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="checksums") as threads:
        return dict(zip(paths, threads.map(mark, paths), strict=True))
