"""What happened to single records that a person would ask about, until the log has it.

A flood of records of one kind costs one line: they are counted by what happened and why, and the
first of each kind is named. The kinds are few, so this is bounded.
"""

from dataclasses import dataclass

from consumer.engine.work import WorkItem
from schemas.wire.headers import JOB, last_value

DEAD_LETTERED = "records_dead_lettered"
SUSPECTED = "records_suspected"
REPLACED = "results_replaced"

_MOST_ID_CHARACTERS = 200


@dataclass(slots=True)
class Happening:
    """``records`` of one kind; the other attributes are those of the first.

    Attributes:
        event: What happened.
        code: Why: an error code, or a kind of failure.
    """

    event: str
    code: str
    records: int
    topic: str
    partition: int
    offset: int
    custom_id: str | None
    job: str | None
    attempts: int


class Happenings:
    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Happening] = {}

    def note(self, event: str, code: str, item: WorkItem) -> None:
        found = self._found.get((event, code))
        if found is not None:
            found.records += 1
            return
        record = item.record
        job = last_value(record.headers, JOB)
        self._found[event, code] = Happening(
            event=event,
            code=code,
            records=1,
            topic=record.partition.topic,
            partition=record.partition.partition,
            offset=record.offset,
            custom_id=None if item.custom_id is None else item.custom_id[:_MOST_ID_CHARACTERS],
            job=None if job is None else job[:_MOST_ID_CHARACTERS].decode(errors="replace"),
            attempts=item.attempts,
        )

    def take(self) -> list[Happening]:
        """Return what has happened since the last call."""
        if not self._found:
            return []
        found, self._found = list(self._found.values()), {}
        return found
