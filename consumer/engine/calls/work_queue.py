"""Records that wait for their first call, of several jobs: whose go next, and which."""

import math
from collections.abc import Iterable, Sequence

from consumer.engine.calls.fair_turns import FairTurns
from consumer.engine.calls.job_queue import JobQueue
from consumer.engine.work import WorkItem
from schemas.wire.headers import NO_JOB, read_job

_TURNS_PER_CHUNK = 8
"""A chunk has this many jobs' turns, if so many wait: a job of a few records, or of little weight,
need not wait for whole chunks of others."""
_USUAL_OF_RECORDS = 64
_MOST_USUALS = 64.0
"""A record is charged for at most this many times the usual work, whatever its producer states."""


class WorkQueue:
    """Jobs in turn, each by its weight's share of the work; within a job see ``JobQueue``.

    A record's work is ``WorkItem.work`` where records are ranked by that, and else the bytes of its
    line: most of what it costs a text model, or the prompt's part for a generator. Records without
    a job are one job. There is a queue for each job that waits, so at most one a waiting record.
    """

    def __init__(self, *, longest_first: bool = False) -> None:
        self._longest_first = longest_first
        self._queues: dict[bytes, JobQueue] = {}
        self._turns: FairTurns[bytes] = FairTurns()
        self._records = 0
        # The mean of the logarithms, which a monstrous value hardly moves.
        self._usual_log_work = 0.0
        self._ranked_records = 0

    def __len__(self) -> int:
        return self._records

    @property
    def jobs(self) -> int:
        """How many jobs wait, without the records that are of none."""
        return len(self._queues) - (NO_JOB[0] in self._queues)

    def add(self, item: WorkItem) -> None:
        headers = item.record.headers
        name, weight = read_job(headers) if headers else NO_JOB
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = JobQueue(weight, longest_first=self._longest_first)
            self._turns.enter(name, weight)
        elif queue.weight != weight:
            queue.weight = weight
            self._turns.reweigh(name, weight)
        queue.add(item)
        self._records += 1
        if self._longest_first and item.work > 0:
            self._learn_usual(item.work)

    def take(self, most_records: int, now_s: float) -> list[WorkItem]:
        """Take up to ``most_records`` within ``MAX_CHUNK_BYTES``, or one larger record."""
        chunk: list[WorkItem] = []
        if self._turns.are_contested:
            self._take_in_turn(chunk, most_records, now_s)
        else:
            for name, queue in [*self._queues.items()]:
                queue.take_into(chunk, most_records, 0, now_s)
                self._drop_if_empty(name, queue)
        self._records -= len(chunk)
        return chunk

    def charge_again(self, items: Iterable[WorkItem]) -> None:
        """Charge jobs for records that are called again, so that no other job pays for them."""
        if self._turns.are_contested:
            for item in items:
                name, _ = read_job(item.record.headers)
                self._turns.charge(name, self._work_of([item], len(item.line)))

    def discard(self, item: WorkItem) -> None:
        name, _ = read_job(item.record.headers)
        queue = self._queues.get(name)
        if queue is not None and queue.discard(item):
            self._records -= 1
            self._drop_if_empty(name, queue)

    def waiting(self) -> list[WorkItem]:
        """Return the waiting records, job after job, each in order of arrival."""
        return [item for queue in self._queues.values() for item in queue.waiting()]

    def _take_in_turn(self, chunk: list[WorkItem], most_records: int, now_s: float) -> None:
        # Ranked records go out with others of like work, which turns within a chunk would undo.
        turns = 1 if self._longest_first else _TURNS_PER_CHUNK
        turn_records = max(1, most_records // turns)
        size_bytes, is_full = 0, False
        while len(chunk) < most_records and not is_full:
            name = self._turns.next()
            if name is None:
                return
            queue, first, before_bytes = self._queues[name], len(chunk), size_bytes
            most = min(first + turn_records, most_records)
            size_bytes, is_full = queue.take_into(chunk, most, size_bytes, now_s)
            if taken := chunk[first:]:
                self._turns.charge(name, self._work_of(taken, size_bytes - before_bytes))
            self._drop_if_empty(name, queue)

    def _drop_if_empty(self, name: bytes, queue: JobQueue) -> None:
        if not len(queue):
            del self._queues[name]
            self._turns.leave(name)

    def _learn_usual(self, work: float) -> None:
        self._ranked_records = min(self._ranked_records + 1, _USUAL_OF_RECORDS)
        apart = math.log(work) - self._usual_log_work
        self._usual_log_work += apart / self._ranked_records

    def _work_of(self, items: Sequence[WorkItem], line_bytes: int) -> float:
        if not self._longest_first:
            return float(max(1, line_bytes))
        usual = math.exp(self._usual_log_work)
        most = _MOST_USUALS * usual
        # A record that states none counts as a usual one.
        return sum(min(item.work, most) if item.work > 0 else usual for item in items)
