from collections import Counter

import pytest

from tests.chaos.checks.promises import Verdict
from tests.chaos.faults.planted import PROVOKED_BY, SHOWS_AS, Bug
from tests.chaos.report import is_caught


@pytest.mark.parametrize("bug", Bug)
def test_a_bug_is_caught_by_what_it_does_wrong(bug: Bug) -> None:
    for rule in SHOWS_AS[bug]:
        assert is_caught(bug, Verdict(violations=Counter({rule: 1})))
    assert not is_caught(bug, Verdict(violations=Counter({"never_came": 3, "member_failed": 1})))
    assert not is_caught(bug, Verdict())


def test_each_bug_is_provoked_and_has_a_rule() -> None:
    assert SHOWS_AS.keys() == PROVOKED_BY.keys() == set(Bug)
