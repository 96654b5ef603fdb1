"""Which reply topics exist, and the records that wait to know it."""

from collections import OrderedDict
from collections.abc import Collection, Iterator
from typing import NamedTuple

from consumer.engine.record_state import RecordState
from consumer.engine.work import WorkItem
from schemas.wire.references import RequestBodyReference

MOST_TOPICS = 4096
"""What is remembered; beyond, the topic that was not named for longest is looked up again."""
MISSING_S = 5.0
"""How long a topic counts as missing after a look-up: it may be made at any time."""
MOST_AT_ONCE = 256

_EXISTS_S = float("inf")


class WaitingRecord(NamedTuple):
    """A record that waits for a look-up; ``url`` and ``reference`` are of a body to be fetched."""

    item: WorkItem
    url: str
    reference: RequestBodyReference | None


class LookUps:
    """Remembers what look-ups found; a topic is looked up once, however many records name it."""

    def __init__(self) -> None:
        # Until when a topic counts as missing; it exists if that is infinite.
        self._found: OrderedDict[str, float] = OrderedDict()
        self._waiting: dict[str, list[WaitingRecord]] = {}
        self._due: dict[str, None] = {}

    def exists(self, topic: str, now_s: float) -> bool | None:
        """Return whether a topic exists; ``None`` if that is unknown, or was long ago."""
        until_s = self._found.get(topic)
        if until_s is None:
            return None
        if until_s == _EXISTS_S:
            self._found.move_to_end(topic)
            return True
        if now_s < until_s:
            return False
        del self._found[topic]
        return None

    def want(self, topic: str) -> None:
        if topic not in self._waiting:
            self._waiting[topic] = []
            self._due[topic] = None

    def wait(self, record: WaitingRecord) -> None:
        topic = record.item.reply_topic or ""
        self.want(topic)
        self._waiting[topic].append(record)

    @property
    def is_due(self) -> bool:
        return bool(self._due)

    def take_due(self) -> list[str]:
        taken = list(self._due)[:MOST_AT_ONCE]
        for topic in taken:
            del self._due[topic]
        return taken

    def ended(
        self, topics: Collection[str], missing: Collection[str] | None, now_s: float
    ) -> list[WaitingRecord]:
        """Note what a look-up found, ``None`` if nothing; return the records that may go on."""
        records: list[WaitingRecord] = []
        for topic in topics:
            if missing is not None:
                self._note(topic, now_s + MISSING_S if topic in missing else _EXISTS_S)
            records += self._waiting.pop(topic, ())
        return [each for each in records if each.item.state is RecordState.LOOKING_UP]

    def note_missing(self, topic: str, now_s: float) -> None:
        """Note what publishing found out."""
        self._note(topic, now_s + MISSING_S)

    def items(self) -> Iterator[WorkItem]:
        for records in self._waiting.values():
            for record in records:
                if record.item.state is RecordState.LOOKING_UP:
                    yield record.item

    def _note(self, topic: str, until_s: float) -> None:
        self._found[topic] = until_s
        self._found.move_to_end(topic)
        while len(self._found) > MOST_TOPICS:
            self._found.popitem(last=False)
