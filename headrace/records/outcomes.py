"""What became of the records that were sent: each counts once. Pure."""

from collections import Counter
from typing import Any

import orjson

from headrace.records.places import PlaceSet
from headrace.records.reading import TopicRecord, source_of
from headrace_client.wire.names import Place
from schemas.wire import headers

ANSWERED = "answered"
UNREADABLE = "no result line"


class Outcomes:
    """Takes results and dead letters until every record that was sent has one.

    Attributes:
        counts: Records by outcome: ``answered``, or the error's code.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._awaited = PlaceSet()

    @property
    def awaited_records(self) -> int:
        return len(self._awaited)

    @property
    def done_records(self) -> int:
        return self.counts.total()

    @property
    def failed_records(self) -> int:
        return self.done_records - self.counts[ANSWERED]

    def await_place(self, place: Place) -> None:
        self._awaited.add(place)

    def take(self, record: TopicRecord) -> bytes | None:
        """Return the result line of a record that was awaited; ``None`` for all others.

        A dead letter may come alone or beside a result of the same content, in any order; so it
        counts as that result.
        """
        place = source_of(record)
        if place is None or not self._awaited.discard(place):
            return None
        code = headers.last_value(record.headers, headers.ERROR_CODE)
        if code is None:
            self.counts[_outcome_of(record.value)] += 1
            return record.value
        self.counts[code.decode(errors="replace")] += 1
        message = headers.last_value(record.headers, headers.ERROR_MESSAGE) or b""
        return orjson.dumps(
            {
                "id": f"{place.topic}-{place.partition}-{place.offset}",
                "custom_id": _custom_id_of(record.value),
                "response": None,
                "error": {
                    "code": code.decode(errors="replace"),
                    "message": message.decode(errors="replace"),
                },
            }
        )


def _outcome_of(value: bytes | None) -> str:
    try:
        line = orjson.loads(value or b"")
        if line["error"] is not None:
            return str(line["error"]["code"])
        status = line["response"]["status_code"]
        if status == 200:
            return ANSWERED
        return _code_of(line["response"].get("body")) or str(status)
    except (ValueError, KeyError, TypeError):
        return UNREADABLE


def _code_of(body: Any) -> str | None:
    match body:
        case {"error": {"code": str(code)}}:
            return code
    return None


def _custom_id_of(value: bytes | None) -> str | None:
    try:
        custom_id = orjson.loads(value or b"")["custom_id"]
    except (ValueError, KeyError, TypeError):
        return None
    return custom_id if isinstance(custom_id, str) else None
