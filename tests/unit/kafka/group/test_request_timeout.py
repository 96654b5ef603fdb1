"""How long an answer may take, joining included."""

import pytest

from consumer.kafka.group.member import request_timeout_ms
from schemas.settings.file import GroupSettings


@pytest.mark.parametrize(
    ("rebalance_timeout_ms", "expected_ms"), [(2_000, 40_000), (30_000, 40_000), (120_000, 130_000)]
)
def test_joining_may_take_as_long_as_a_rebalance(
    rebalance_timeout_ms: int, expected_ms: int
) -> None:
    membership = GroupSettings(rebalance_timeout_ms=rebalance_timeout_ms)

    assert request_timeout_ms(membership) == expected_ms
