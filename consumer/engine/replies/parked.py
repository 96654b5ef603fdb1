"""Outcomes whose reply topic takes nothing now."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from consumer.engine.admission import Admission
from consumer.engine.work import PartitionAssignment, WorkItem

GIVE_UP_S = 60.0
"""An outcome that has waited for so long is a dead letter: offsets above it must not wait for ever
to be committed."""
FIRST_BACKOFF_S = 1.0
MAX_BACKOFF_S = 10.0
SHARE = 4
"""At most a quarter of what admission may hold waits here, so that the rest of the route goes
on."""
TRIED_RECORDS = 64
"""How many are published again at first; if one is taken, all are."""
MOST_DEAF = 1024
"""How many topics are remembered that have taken nothing for ``GIVE_UP_S``."""


@dataclass(eq=False, slots=True)
class _Topic:
    since_s: float
    due_s: float
    backoff_s: float = FIRST_BACKOFF_S
    is_tried: bool = False
    reason: str = ""
    items: dict[WorkItem, None] = field(default_factory=dict)


@dataclass(slots=True)
class _Deaf:
    """Since when a topic takes nothing, when the next outcome is tried, and when the last came."""

    since_s: float
    try_at_s: float
    named_s: float


class Parked:
    """Keeps outcomes by reply topic, and releases some of each topic now and then.

    While a topic has an entry here, its new outcomes wait here too: they would only take the time
    of a transaction that others could use.

    Where the route ``is_ordered``, an outcome that waits holds up the records behind it, and they
    may name the same topic. So they have one ``GIVE_UP_S`` together: afterwards outcomes of a topic
    that takes nothing are given up at once, but for one that is tried every ``MAX_BACKOFF_S``.
    """

    def __init__(self, admission: Admission, *, is_ordered: bool = False) -> None:
        self._admission = admission
        self._is_ordered = is_ordered
        self._deaf: OrderedDict[str, _Deaf] = OrderedDict()
        # Of deaf topics, until the next ``take_due``.
        self._hopeless: dict[WorkItem, None] = {}
        self._topics: dict[str, _Topic] = {}
        self._records = 0
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._topics) or bool(self._deaf) or bool(self._hopeless)

    @property
    def records(self) -> int:
        return self._records

    def holds(self, topic: str) -> bool:
        return topic in self._topics

    def refuses(self, item: WorkItem, now_s: float) -> str | None:
        """Return why an outcome may not wait here, or wait on."""
        if item.parked_at_s is not None and _is_late(item, now_s):
            self._note_deaf(item, item.parked_at_s, now_s)
            return f"it has waited for {now_s - item.parked_at_s:.0f} s"
        if (deaf := self._deaf.get(item.reply_topic or "")) is not None:
            return f"the topic has taken nothing for {now_s - deaf.since_s:.0f} s"
        admission = self._admission
        if (
            self._records >= max(1, admission.max_records // SHARE)
            or self._bytes + item.held_bytes > admission.max_bytes // SHARE
        ):
            return (
                f"{self._records:,} results wait for such topics already, the share of "
                "flow.max_records and flow.max_bytes that may"
            )
        return None

    def add(self, item: WorkItem, reason: str | None, now_s: float) -> None:
        """Keep an outcome; ``reason`` is of a refusal, ``None`` of one that was not tried."""
        if item.parked_at_s is None:
            item.parked_at_s = now_s
        name = item.reply_topic or ""
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = _Topic(now_s, now_s + FIRST_BACKOFF_S)
        elif reason is not None and topic.is_tried:
            # The first refusal counts for all that were released with it.
            topic.is_tried = False
            topic.backoff_s = min(2 * topic.backoff_s, MAX_BACKOFF_S)
            topic.due_s = now_s + topic.backoff_s
        if reason is not None:
            topic.reason = reason
        self._keep(topic.items, item)

    def is_hopeless(self, topic: str, now_s: float) -> bool:
        """Return whether an outcome of a topic is to be given up without a try."""
        deaf = self._deaf.get(topic)
        if deaf is None:
            return False
        deaf.named_s = now_s
        if now_s < deaf.try_at_s:
            return True
        deaf.try_at_s = now_s + MAX_BACKOFF_S
        return False

    def give_up(self, item: WorkItem) -> None:
        """Have an outcome that ``is_hopeless`` be overdue."""
        topic = item.reply_topic or ""
        item.parked_at_s = self._deaf[topic].since_s
        self._keep(self._hopeless, item)

    def take_due(self, now_s: float) -> tuple[list[WorkItem], list[WorkItem]]:
        """Take what is to be published again, some of each topic, and what has waited too long."""
        again: list[WorkItem] = []
        overdue = self._take(self._hopeless, list(self._hopeless))
        for name in [each for each, deaf in self._deaf.items() if _is_forgotten(deaf, now_s)]:
            del self._deaf[name]
        for name, topic in list(self._topics.items()):
            if topic.due_s > now_s:
                continue
            late = [each for each in topic.items if _is_late(each, now_s)]
            for item in late:
                self._note_deaf(item, topic.since_s, now_s)
            overdue += self._take(topic.items, late)
            if not topic.items:
                # Nothing came back: each was given up, or is another consumer's.
                del self._topics[name]
                continue
            topic.due_s = now_s + MAX_BACKOFF_S
            topic.is_tried = True
            again += self._take(topic.items, list(topic.items)[:TRIED_RECORDS])
        return again, overdue

    def taken(self, name: str) -> list[WorkItem]:
        """Take all outcomes of a topic that takes them again."""
        self._deaf.pop(name, None)
        topic = self._topics.pop(name, None)
        return [] if topic is None else self._take(topic.items, list(topic.items))

    def remove(self, assignment: PartitionAssignment) -> list[WorkItem]:
        removed: list[WorkItem] = []
        for items in (self._hopeless, *(topic.items for topic in self._topics.values())):
            lost = [item for item in items if item.assignment is assignment]
            removed += self._take(items, lost)
        return removed

    def next_due_at_s(self) -> float | None:
        if self._hopeless:
            return 0.0
        return min((topic.due_s for topic in self._topics.values()), default=None)

    def waits(self, now_s: float) -> Iterator[str]:
        for name, topic in self._topics.items():
            yield (
                f"reply topic {name} takes nothing: {len(topic.items):,} results wait, for "
                f"{now_s - topic.since_s:.0f} s ({topic.reason}); after {GIVE_UP_S:.0f} s each is "
                "a dead letter"
            )
        for name, deaf in self._deaf.items():
            if name not in self._topics and not _is_forgotten(deaf, now_s):
                yield (
                    f"reply topic {name} takes nothing: for {now_s - deaf.since_s:.0f} s; each "
                    "result is a dead letter at once, so that the records behind it go on"
                )

    def _note_deaf(self, item: WorkItem, since_s: float, now_s: float) -> None:
        topic = item.reply_topic or ""
        if not self._is_ordered or topic in self._deaf:
            return
        self._deaf[topic] = _Deaf(since_s, now_s + MAX_BACKOFF_S, now_s)
        while len(self._deaf) > MOST_DEAF:
            self._deaf.popitem(last=False)

    def _keep(self, waiting: dict[WorkItem, None], item: WorkItem) -> None:
        waiting[item] = None
        self._records += 1
        self._bytes += item.held_bytes

    def _take(self, waiting: dict[WorkItem, None], items: Iterable[WorkItem]) -> list[WorkItem]:
        taken = list(items)
        for item in taken:
            del waiting[item]
            self._records -= 1
            self._bytes -= item.held_bytes
        return taken


def _is_late(item: WorkItem, now_s: float) -> bool:
    return item.parked_at_s is not None and now_s - item.parked_at_s >= GIVE_UP_S


def _is_forgotten(deaf: _Deaf, now_s: float) -> bool:
    return now_s - deaf.named_s >= GIVE_UP_S
