"""The loop keeps the device busy: a batch is queued while the one before it computes."""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Condition, Event, get_ident

import numpy as np
import pytest

from serve_models.text.device.loop import DeviceLoop
from serve_models.text.models.base import Rows
from serve_models.text.models.tokenizing import TokenizedText

PATIENCE_S = 20.0


class StandInDevice:
    """Queues batches; a test says when each is done. A batch is known by the tokens of its text."""

    def __init__(self) -> None:
        self.log: list[tuple[str, int]] = []
        self.launchers: set[int] = set()
        self.batches: dict[int, int] = {}
        self.done: defaultdict[int, Event] = defaultdict(Event)
        self.fails_at: tuple[str, int] | None = None
        self._logged = Condition()

    def stage(self, slot: int, texts: Sequence[TokenizedText]) -> int:
        batch = texts[0].tokens
        self.batches[slot] = batch
        self._step("stage", batch)
        return batch

    def launch(self, slot: int, staged: int) -> None:
        assert self.batches[slot] == staged
        self.launchers.add(get_ident())
        self._step("launch", staged)

    def collect(self, slot: int) -> Rows:
        batch = self.batches[slot]
        assert self.done[batch].wait(PATIENCE_S)
        self._step("collect", batch)
        return np.full((1, 1), batch, np.float32)

    def abandon(self, slot: int) -> None:
        self._step("abandon", self.batches[slot])

    def wait_for(self, step: str, batch: int) -> None:
        with self._logged:
            assert self._logged.wait_for(lambda: (step, batch) in self.log, PATIENCE_S)

    def _step(self, step: str, batch: int) -> None:
        with self._logged:
            self.log.append((step, batch))
            self._logged.notify_all()
        if self.fails_at == (step, batch):
            raise RuntimeError(f"{step} {batch}")


def batch_of(number: int) -> list[TokenizedText]:
    return [TokenizedText(tokens=number, truncated=False)]


class Running:
    """A loop over a stand-in, with a thread for each batch."""

    def __init__(self, slots: int = 2, *, queues: bool = True) -> None:
        self.device = StandInDevice()
        self.loop = DeviceLoop(self.device, slots, queues=queues)
        self._threads = ThreadPoolExecutor(8)

    def run(self, number: int) -> Future[Rows]:
        return self._threads.submit(self.loop.run, batch_of(number))

    def finish(self, number: int) -> None:
        self.device.done[number].set()


def test_the_next_batch_is_queued_while_one_computes() -> None:
    running = Running()
    first = running.run(1)
    running.device.wait_for("launch", 1)
    second = running.run(2)
    running.device.wait_for("launch", 2)
    assert ("collect", 1) not in running.device.log
    running.finish(1)
    assert first.result(PATIENCE_S).tolist() == [[1.0]]
    running.finish(2)
    assert second.result(PATIENCE_S).tolist() == [[2.0]]


def test_no_more_batches_are_queued_than_there_are_slots() -> None:
    running = Running(slots=2)
    futures = []
    for number in (1, 2):
        futures.append(running.run(number))
        running.device.wait_for("launch", number)
    futures.append(running.run(3))
    running.finish(2)
    futures[1].result(PATIENCE_S)
    # The second's slot is free, the first still computes.
    running.device.wait_for("launch", 3)
    assert running.device.log.index(("collect", 2)) < running.device.log.index(("stage", 3))
    running.finish(1)
    running.finish(3)
    assert [future.result(PATIENCE_S)[0, 0] for future in futures] == [1.0, 2.0, 3.0]


def test_one_thread_launches_all_batches() -> None:
    running = Running()
    for number in range(1, 5):
        running.finish(number)
        running.run(number).result(PATIENCE_S)
    assert len(running.device.launchers) == 1


def test_a_device_that_does_not_queue_computes_in_the_threads_that_ask() -> None:
    running = Running(queues=False)
    running.finish(1)
    assert running.loop.run(batch_of(1)).tolist() == [[1.0]]
    assert running.device.launchers == {get_ident()}


@pytest.mark.parametrize("step", ["stage", "launch", "collect"])
@pytest.mark.parametrize("queues", [True, False])
def test_a_batch_that_fails_leaves_its_slot_to_the_next(step: str, queues: bool) -> None:
    running = Running(slots=1, queues=queues)
    running.device.fails_at = (step, 1)
    running.finish(1)
    with pytest.raises(RuntimeError, match=f"{step} 1"):
        running.run(1).result(PATIENCE_S)
    assert ("abandon", 1) in running.device.log
    running.finish(2)
    assert running.run(2).result(PATIENCE_S).tolist() == [[2.0]]


def test_a_batch_that_fails_before_its_launch_does_not_hold_up_the_one_behind_it() -> None:
    running = Running(slots=2)
    running.device.fails_at = ("stage", 1)
    first, second = running.run(1), running.run(2)
    running.finish(2)
    assert second.result(PATIENCE_S).tolist() == [[2.0]]
    with pytest.raises(RuntimeError):
        first.result(PATIENCE_S)
