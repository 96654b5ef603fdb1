"""Whether the input is still the one with which the job began.

A file is known by its size, its time or tag, and checksums of its two ends. It may have grown: a
text file by lines at its end, a dataset by fragments, the input by files at the end.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from headrace_client.bulk.rows.errors import InputChangedError
from headrace_client.bulk.rows.files.finding import InputFile
from headrace_client.bulk.rows.files.formats import TEXT_FORMATS, Format
from headrace_client.bulk.rows.readers.lance_dataset import LanceReader
from headrace_client.bulk.rows.readers.reading import Reader

EDGE_BYTES = 64 << 10
_LINE_ENDS = (b"\n", b"\n\0")
_AFTER_A_LINE = (b"\n", b"\r", b"\0")

Fingerprint = dict[str, Any]


def fingerprint(reader: Reader) -> Fingerprint:
    """Describe a file as JSON values."""
    file = reader.file
    described: Fingerprint = {"path": file.path, "format": str(file.format)}
    if isinstance(reader, LanceReader):
        count = reader.fragments
        return {**described, "fragments": count, "checksum": reader.checksum(count)}
    if file.size is None:
        head = _bytes(file, 0, EDGE_BYTES)
        return {**described, "head_bytes": len(head), "head": _checksum(head)}
    tail = _bytes(file, max(0, file.size - EDGE_BYTES), file.size)
    return {
        **described,
        "compression": file.compression,
        "size": file.size,
        "modified": file.modified,
        "head": _checksum(_bytes(file, 0, EDGE_BYTES)),
        "tail": _checksum(tail),
        "ends_line": tail.endswith(_LINE_ENDS),
    }


def check_unchanged(
    before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]], readers: Sequence[Reader]
) -> None:
    """Compare the input's fingerprints; more files at the end are fine.

    Raises ``InputChangedError``, which names the first file that is not as it was.
    """
    paths = {each["path"] for each in now}
    for index, old in enumerate(before):
        if old["path"] not in paths:
            raise InputChangedError(
                f"{old['path']}, which this job reads, is not in the input any more: put it back, "
                "or begin another job with another OUT"
            )
        if now[index]["path"] != old["path"]:
            raise InputChangedError(
                f"{now[index]['path']} was not in the input when this job began, and comes before "
                f"{old['path']}, so that rows would have other numbers: give it a name that comes "
                "last, or begin another job with another OUT"
            )
        difference = _difference(old, now[index], readers[index])
        if difference is None:
            continue
        if difference == "":
            if index == len(before) - 1:
                continue
            difference = "it has grown, and other files follow it: only the last may grow"
        raise InputChangedError(
            f"{old['path']} is not as it was when this job began: {difference}. Put it back as it "
            "was, or begin another job with another OUT"
        )


def _difference(old: Mapping[str, Any], new: Mapping[str, Any], reader: Reader) -> str | None:
    """Say what differs: ``None`` if nothing, an empty text if the file has only grown."""
    if all(new.get(name) == old.get(name) for name in old if name != "columns"):
        return None
    for name in ("format", "compression"):
        if old.get(name) != new.get(name):
            return f"its {name} was {old.get(name)} and is {new.get(name)}"
    if isinstance(reader, LanceReader):
        return _dataset_difference(old, reader)
    if reader.file.size is None:
        kept = _bytes(reader.file, 0, old["head_bytes"])
        return "" if _checksum(kept) == old["head"] else "it begins with other bytes"
    return _file_difference(old, new, reader.file)


def _dataset_difference(old: Mapping[str, Any], reader: LanceReader) -> str:
    if reader.fragments < old["fragments"]:
        return f"it had {old['fragments']} fragments and has {reader.fragments}"
    if reader.checksum(old["fragments"]) != old["checksum"]:
        return "rows that it had were changed, deleted or compacted"
    return ""


def _file_difference(old: Mapping[str, Any], new: Mapping[str, Any], file: InputFile) -> str:
    old_size, size = old["size"], new["size"]
    if size < old_size:
        return f"it had {old_size:,} bytes and has {size:,}"
    head, tail = (0, min(EDGE_BYTES, old_size)), (max(0, old_size - EDGE_BYTES), old_size)
    for name, (start, end) in {"head": head, "tail": tail}.items():
        if _checksum(_bytes(file, start, end)) != old[name]:
            return f"its bytes {start:,} to {end:,} are others"
    if size == old_size:
        again = (
            f". If nothing in it changed, `touch -d @{old['modified']}` makes it the same again"
            if file.is_local
            else ""
        )
        return (
            f"it was written anew (modified {old['modified']}, now {new['modified']}), though its "
            f"size and both ends are the same{again}"
        )
    if Format(old["format"]) not in TEXT_FORMATS:
        return f"it had {old_size:,} bytes and has {size:,}, and only text files grow in place"
    goes_on = not file.compression and not old["ends_line"]
    if goes_on and _bytes(file, old_size, old_size + 1) not in _AFTER_A_LINE:
        return "its last line had no end, and goes on now"
    return ""


def _bytes(file: InputFile, start: int, end: int) -> bytes:
    data = b""
    with file.open() as raw:
        if start:
            raw.seek(start)
        while len(data) < end - start and (more := raw.read(end - start - len(data))):
            data += more
    return data


def _checksum(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()
