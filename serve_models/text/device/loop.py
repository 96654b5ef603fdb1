"""Runs batches on a device so that one is prepared while another computes."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Condition
from typing import Any, Protocol

from serve_models.text.device.slots import SlotSchedule
from serve_models.text.models.base import Rows
from serve_models.text.models.tokenizing import TokenizedText


class Device(Protocol):
    """Runs batches in slots. Slots are independent; of one slot, a call follows another."""

    def stage(self, slot: int, texts: Sequence[TokenizedText]) -> Any:
        """Write a batch to the slot's host buffers; returns what ``launch`` needs to know."""
        ...

    def launch(self, slot: int, staged: Any) -> None:
        """Queue the batch's copies and its forward pass. Does not wait for the device."""
        ...

    def collect(self, slot: int) -> Rows:
        """Wait for the device, and return rows that are not the slot's buffer."""
        ...

    def abandon(self, slot: int) -> None:
        """Wait until the device no longer uses the slot, whose batch has failed."""
        ...


class DeviceLoop:
    """Runs each batch through a slot; as many threads may call ``run`` as there are slots.

    With ``queues``, ``launch`` returns before the device is done, and one thread of the loop's own
    calls it: what a captured graph keeps for a thread is then the same for all batches, and two
    launches do not take turns at the interpreter's lock. Without it ``launch`` computes, in the
    thread that calls ``run``.

    Attributes:
        queues: As given.
        is_packed: Whether batches have no padding.
    """

    def __init__(
        self, device: Device, slots: int, *, queues: bool, is_packed: bool = False
    ) -> None:
        self.queues = queues
        self.is_packed = is_packed
        self._device = device
        self._schedule = SlotSchedule(slots)
        self._changed = Condition()
        self._launcher = ThreadPoolExecutor(1, "headrace-launcher") if queues else None

    def run(self, texts: Sequence[TokenizedText]) -> Rows:
        """Run one batch; whatever it raises, the slot is free afterwards."""
        slot = self._take()
        try:
            staged = self._device.stage(slot, texts)
            self._launch_in_turn(slot, staged)
            rows = self._device.collect(slot)
        except BaseException:
            self._device.abandon(slot)
            raise
        finally:
            self._change(lambda: self._schedule.free(slot))
        return rows

    def _take(self) -> int:
        with self._changed:
            while (slot := self._schedule.take()) is None:
                self._changed.wait()
            return slot

    def _launch_in_turn(self, slot: int, staged: Any) -> None:
        with self._changed:
            self._schedule.staged(slot)
            self._changed.wait_for(lambda: self._schedule.may_launch(slot))
            self._schedule.launch(slot)
            # Submitted here, so that the launcher's queue has this order too.
            launched = self._launch(slot, staged)
            self._changed.notify_all()
        launched()

    def _launch(self, slot: int, staged: Any) -> Callable[[], None]:
        """Begin a launch; returns what waits for its end, or is the launch."""
        if self._launcher is None:
            return lambda: self._device.launch(slot, staged)
        return self._launcher.submit(self._device.launch, slot, staged).result

    def _change(self, change: Callable[[], None]) -> None:
        with self._changed:
            change()
            self._changed.notify_all()
