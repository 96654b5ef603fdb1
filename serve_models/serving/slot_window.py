"""How many records a generator's replica wants in flight from each consumer. Pure."""

from serve_models.serving.window_share import SharedWindow


class SlotWindow(SharedWindow):
    """Divides a little more than the engine's slots among the consumers that call.

    What is over the slots waits in the engine, so that a slot that frees is filled at once and not
    a round trip later.

    Args:
        slots: Sequences that the engine runs at a time, vLLM's ``max_num_seqs``.
        in_flight_ratio: Records in flight in all, by the slots.

    Attributes:
        slots: As given; may be changed at any time.
        in_flight_ratio: The same.
    """

    def __init__(self, slots: int, in_flight_ratio: float) -> None:
        super().__init__()
        self.slots = slots
        self.in_flight_ratio = in_flight_ratio

    @property
    def total_records(self) -> float:
        """Records wanted in flight from all consumers together."""
        return self.slots * self.in_flight_ratio
