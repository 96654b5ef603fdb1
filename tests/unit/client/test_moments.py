"""Moments as people write them."""

from datetime import UTC, datetime

import pytest

from headrace_client.moments import moment_after, moment_before

NOW_MS = round(datetime(2030, 1, 31, 12, 0, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("text", "after_ms"),
    [
        ("250ms", 250),
        ("30s", 30_000),
        ("1.5m", 90_000),
        ("2 min", 120_000),
        ("2h", 7_200_000),
        ("3d", 259_200_000),
        ("2030-01-31T12:00:01Z", 1_000),
        ("2030-01-31T14:00:00+01:00", 3_600_000),
    ],
)
def test_a_moment_from_now_on(text: str, after_ms: int) -> None:
    assert moment_after(text, NOW_MS) == NOW_MS + after_ms


@pytest.mark.parametrize(
    ("text", "moment_ms"),
    [
        ("10m", NOW_MS - 600_000),
        ("2030-01-31T11:00:00Z", NOW_MS - 3_600_000),
        ("99999999d", 0),
        ("1960-01-01T00:00:00Z", 0),
    ],
)
def test_a_moment_before(text: str, moment_ms: int) -> None:
    assert moment_before(text, NOW_MS) == moment_ms


def test_a_time_without_a_zone_is_this_machines() -> None:
    local = datetime(2030, 6, 1, 8, 0).astimezone()

    assert moment_after("2030-06-01T08:00", NOW_MS) == round(local.timestamp() * 1000)


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "tomorrow", "2030-13-01", "1e3s"])
def test_what_is_no_moment_says_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' is no time: write 30s, 5m"):
        moment_after(text, NOW_MS)


@pytest.mark.parametrize("text", ["0s", "2030-01-31T12:00:00Z", "2029-01-01"])
def test_what_is_over_cannot_be_a_deadline(text: str) -> None:
    with pytest.raises(ValueError, match="is past: it is 2030-01-31T12:00:00"):
        moment_after(text, NOW_MS)
