import pytest

from headrace_client.bulk.job.deadlines import DeadlineError, deadline_ms

NOW_MS = 1_764_374_400_000  # 2025-11-29T00:00:00Z


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("90s", NOW_MS + 90_000),
        ("45m", NOW_MS + 2_700_000),
        ("1.5 h", NOW_MS + 5_400_000),
        ("1d", NOW_MS + 86_400_000),
        ("2025-11-30", NOW_MS + 86_400_000),
        ("2025-11-29T02:00+01:00", NOW_MS + 3_600_000),
    ],
)
def test_durations_and_dates(text: str, expected_ms: int) -> None:
    assert deadline_ms(text, NOW_MS) == expected_ms


@pytest.mark.parametrize("text", ["", "soon", "2 weeks", "-1h"])
def test_what_is_neither_is_named(text: str) -> None:
    with pytest.raises(DeadlineError, match="--deadline"):
        deadline_ms(text, NOW_MS)


def test_a_date_in_the_past_is_refused() -> None:
    with pytest.raises(DeadlineError, match="past"):
        deadline_ms("2025-11-28", NOW_MS)
