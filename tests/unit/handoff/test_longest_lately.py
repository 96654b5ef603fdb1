"""What is ordinary, learned and forgotten."""

from handoff.longest_lately import LEAST_PERIOD_S, LongestLately


def test_what_took_long_once_is_forgotten_after_two_periods() -> None:
    longest = LongestLately()
    longest.learn(300.0, 0.0)
    longest.learn(1.0, LEAST_PERIOD_S + 1)
    assert longest.seconds == 300.0
    longest.learn(2.0, 2 * LEAST_PERIOD_S + 2)
    assert longest.seconds == 2.0


def test_what_always_takes_hours_is_remembered_from_one_to_the_next() -> None:
    longest = LongestLately()
    now_s = 0.0
    for _ in range(50):
        now_s += 7_200.0
        longest.learn(7_200.0, now_s)
        assert longest.seconds == 7_200.0
