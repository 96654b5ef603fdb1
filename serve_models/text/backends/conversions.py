"""Keeps converted checkpoints in the cache: made once, by whichever process comes first."""

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from serve_models.text.backends.agreement import Agreement
from serve_models.weights.sources import default_cache_dir

logger = logging.getLogger(__name__)

_AGREEMENT_FILE = "agreement.json"
_LEFT_OUT = {".onnx", ".xml", ".bin", ".pt", ".pth", ".md", ".lock"}
"""Files of a checkpoint that a conversion does not read."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a checkpoint is converted to.

    Attributes:
        backend: ``openvino`` or ``onnx``.
        quantization: ``int8`` or ``none``.
        dtype: What runs in floating point, on which the agreement depends.
        converter: Names and versions of what converts: another converter makes another file.
        kind: Of the model: one checkpoint has another graph as another kind.
    """

    backend: str
    quantization: str
    dtype: str
    converter: str
    kind: str = ""


def conversion_directory(path: Path, conversion: Conversion, cache_dir: Path | None = None) -> Path:
    """Return where the conversion of the checkpoint in ``path`` is kept.

    The name has a digest of the checkpoint's files, so that changed weights are converted anew.
    """
    made_by = f"{conversion.converter}; {conversion.kind}"
    digest = hashlib.blake2b(made_by.encode(), digest_size=12)
    for file in sorted(path.rglob("*")):
        relative = file.relative_to(path)
        is_hidden = any(part.startswith(".") for part in relative.parts)
        if file.is_file() and not is_hidden and file.suffix not in _LEFT_OUT:
            digest.update(str(relative).encode() + b"\0")
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "blake2b").digest())
    folder = f"{conversion.backend}-{conversion.quantization}-{conversion.dtype}"
    return (cache_dir or default_cache_dir()) / "converted" / folder / digest.hexdigest()


@contextmanager
def converted(
    directory: Path, make: Callable[[Path], Agreement]
) -> Iterator[tuple[Path, Agreement]]:
    """Yield where the conversion lies and how it agrees with its checkpoint; make it if needed.

    ``make`` writes into the empty directory that it is given. If several processes want the same
    conversion, one makes it and the others wait; an interrupted one leaves nothing behind. Where
    the cache cannot be written, the conversion lasts as long as the context.
    """
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(directory.parent / f".{directory.name}.lock")
        if not _is_there(directory):
            lock.acquire()
    except OSError as error:
        logger.warning(
            "the cache cannot be written (%s): the model is converted at each start; set "
            "HEADRACE_CACHE to a directory that can",
            error,
            extra={"event": "cache_not_writable", "error_class": type(error).__name__},
        )
        with tempfile.TemporaryDirectory(prefix="headrace-converted-") as scratch:
            yield Path(scratch), make(Path(scratch))
        return
    try:
        if not _is_there(directory):
            with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
                made = Path(scratch) / "model"
                made.mkdir()
                agreement = make(made)
                (made / _AGREEMENT_FILE).write_text(json.dumps(agreement.to_dict()))
                # Renamed when complete.
                made.rename(directory)
    finally:
        lock.release()
    fields = json.loads((directory / _AGREEMENT_FILE).read_text(encoding="utf-8"))
    yield directory, Agreement.from_dict(fields)


def _is_there(directory: Path) -> bool:
    return (directory / _AGREEMENT_FILE).is_file()
