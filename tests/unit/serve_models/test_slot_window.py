import pytest

from serve_models.slot_window import SlotWindow
from serve_models.window_share import CONSUMER_FORGOTTEN_AFTER_S


@pytest.mark.parametrize(
    ("slots", "ratio", "consumers", "records"),
    [(64, 1.25, 1, 80), (64, 1.25, 3, 27), (64, 1.0, 1, 64), (1, 1.25, 1, 2), (1, 1.0, 8, 1)],
)
def test_the_slots_and_a_little_more_are_divided_among_consumers(
    slots: int, ratio: float, consumers: int, records: int
) -> None:
    window = SlotWindow(slots, ratio)
    for number in range(consumers):
        window.call_started(f"consumer-{number}", 0.0)
    assert window.window_records(0.0) == records


def test_a_consumer_counts_while_a_call_of_it_runs_and_a_while_after() -> None:
    window = SlotWindow(8, 1.0)
    window.call_started("long", 0.0)
    window.call_started("long", 0.0)
    window.call_started("gone", 0.0)
    window.call_ended("gone", 0.0)
    later_s = CONSUMER_FORGOTTEN_AFTER_S + 1
    assert window.window_records(1.0) == 4
    assert window.window_records(later_s) == 8
    window.call_started("new", later_s)
    assert window.window_records(later_s) == 4
    window.call_ended("long", later_s)
    window.call_ended("long", later_s)
    assert window.window_records(later_s + 1) == 4
    # "new" still has a call; "long" was seen lately, and then no more.
    assert window.window_records(later_s + CONSUMER_FORGOTTEN_AFTER_S) == 4
    assert window.window_records(2 * later_s) == 8
