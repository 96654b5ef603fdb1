"""Which buffers a batch gets, and when it may be launched. Pure.

Each slot has buffers on the host and on the device. A batch takes a slot, is staged in it (written
to the host's buffers), is launched (its copies and its forward pass are queued on the device), and
is collected when the device is done. With two slots a batch is staged and queued while the one
before it computes, as in double buffering.
"""

from enum import Enum, auto


class Slot(Enum):
    """The state of a slot."""

    FREE = auto()
    """No batch has it."""
    STAGING = auto()
    """A batch is being written to its host buffers."""
    STAGED = auto()
    """Written; waits for the batches before it to be launched."""
    LAUNCHED = auto()
    """On the device, which reads and writes its buffers."""


class SlotSchedule:
    """The states of all slots.

    Batches are launched in the order in which they took their slots, so that none waits for a later
    one on the device.
    """

    def __init__(self, slots: int) -> None:
        self._states = [Slot.FREE] * slots
        self._order: list[int] = []

    def state(self, slot: int) -> Slot:
        return self._states[slot]

    @property
    def launched(self) -> int:
        return self._states.count(Slot.LAUNCHED)

    def take(self) -> int | None:
        """Return a free slot, now ``STAGING``, or ``None`` if there is none."""
        if Slot.FREE not in self._states:
            return None
        slot = self._states.index(Slot.FREE)
        self._states[slot] = Slot.STAGING
        self._order.append(slot)
        return slot

    def staged(self, slot: int) -> None:
        self._move(slot, Slot.STAGING, Slot.STAGED)

    def may_launch(self, slot: int) -> bool:
        """Whether all batches that took their slots before have been launched, or given up."""
        return self._states[slot] is Slot.STAGED and self._order[0] == slot

    def launch(self, slot: int) -> None:
        if not self.may_launch(slot):
            raise ValueError(f"slot {slot} may not be launched: {self._states}, {self._order}")
        self._order.remove(slot)
        self._states[slot] = Slot.LAUNCHED

    def free(self, slot: int) -> None:
        """Give a slot back, whatever its state: its batch was collected, or has failed."""
        if self._states[slot] is Slot.FREE:
            raise ValueError(f"slot {slot} is free already")
        if slot in self._order:
            self._order.remove(slot)
        self._states[slot] = Slot.FREE

    def _move(self, slot: int, before: Slot, after: Slot) -> None:
        if self._states[slot] is not before:
            raise ValueError(f"slot {slot} is {self._states[slot].name}, not {before.name}")
        self._states[slot] = after
