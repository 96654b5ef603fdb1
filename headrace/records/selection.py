"""Which records of a results or dead-letter topic a reader wants. Pure."""

from collections.abc import Collection

import msgspec

from headrace.records.places import PlaceSet
from headrace.records.reading import TopicRecord, source_of
from schemas.wire import headers


class _Named(msgspec.Struct):
    custom_id: str


_decoder = msgspec.json.Decoder(_Named)
"""Skips all but one field: the vectors of a result are never built."""


class Selection:
    """Takes the records of a job, of some ``custom_id``s, or all; and each once if ``is_unique``.

    The same outcome may stand on a topic twice, after a failure.
    """

    def __init__(
        self,
        *,
        job: str | None = None,
        custom_ids: Collection[str] = (),
        is_unique: bool = False,
    ) -> None:
        self._job = None if job is None else job.encode()
        self._custom_ids = frozenset(custom_ids)
        self._taken = PlaceSet() if is_unique else None

    def takes(self, record: TopicRecord) -> bool:
        if self._job is not None and headers.last_value(record.headers, headers.JOB) != self._job:
            return False
        if self._custom_ids and custom_id_of(record) not in self._custom_ids:
            return False
        if self._taken is None:
            return True
        place = source_of(record)
        return place is None or self._taken.add(place)


def custom_id_of(record: TopicRecord) -> str | None:
    """Return the ``custom_id`` of a result, or of the request that a dead letter has."""
    try:
        return _decoder.decode(record.value or b"").custom_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
