import pytest

from handoff.chunk import Chunk
from serve_models.serving.slot_window import SlotWindow
from serve_models.serving.window_share import CONSUMER_FORGOTTEN_AFTER_S


@pytest.mark.parametrize(
    ("slots", "ratio", "consumers", "records"),
    [(64, 1.25, 1, 80), (64, 1.25, 3, 27), (64, 1.0, 1, 64), (1, 1.25, 1, 2), (1, 1.0, 8, 1)],
)
def test_the_slots_and_a_little_more_are_divided_among_consumers(
    slots: int, ratio: float, consumers: int, records: int
) -> None:
    window = SlotWindow(slots, ratio)
    names = [f"consumer-{number}" for number in range(consumers)]
    for name in names:
        window.call_started(Chunk(name, [b""]), 0.0)
    assert {window.window_records(name, 0.0) for name in names} == {records}


def test_a_consumer_counts_while_a_call_of_it_runs_and_a_while_after() -> None:
    window = SlotWindow(8, 1.0)
    long, gone, new = (Chunk(name, [b""]) for name in ("long", "gone", "new"))
    window.call_started(long, 0.0)
    window.call_started(long, 0.0)
    window.call_started(gone, 0.0)
    window.call_ended(gone, 0.0)
    later_s = CONSUMER_FORGOTTEN_AFTER_S + 1
    assert window.window_records("long", 1.0) == 4
    assert window.window_records("long", later_s) == 8
    window.call_started(new, later_s)
    assert window.window_records("long", later_s) == 4
    window.call_ended(long, later_s)
    window.call_ended(long, later_s)
    # "new" still has a call; "long" was seen lately, and then no more.
    assert window.window_records("new", later_s + CONSUMER_FORGOTTEN_AFTER_S) == 4
    assert window.window_records("new", 2 * later_s) == 8
