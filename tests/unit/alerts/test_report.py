"""The table of a run replaces the one that a page has, and nothing else of it."""

from pathlib import Path

from tests.alerts.faults import FAULTS, NOT_CAUSED
from tests.alerts.report import with_table
from tests.unit.headrace.observability.alert_cases import CASES

PAGE = Path(__file__).parents[3] / "docs" / "dashboard.md"
REPORT = {
    "ordinary_s": 60.0,
    "in_ordinary_work": [],
    "alerts": [
        {
            "alert": "HeadraceSlow",
            "fault": "five times the load",
            "fired_after_s": 21.9,
            "resolved_after_s": None,
        }
    ],
    "not_caused": {"HeadraceGpuMemoryFull": "needs a GPU"},
}


def test_a_table_replaces_the_one_before() -> None:
    once = with_table(PAGE.read_text(), REPORT)

    assert (
        "| [HeadraceSlow](runbooks.md#headraceslow) | five times the load | 22 s | never |" in once
    )
    assert "needs a GPU" in once
    assert with_table(once, REPORT) == once
    assert once.startswith(PAGE.read_text().partition("<!-- Written by")[0])
    assert once.endswith(PAGE.read_text().rpartition("<!-- The end of the table. -->")[2])


def test_each_alert_has_a_fault_or_a_reason_why_not() -> None:
    caused = {alert for fault in FAULTS for alert, _ in fault.alerts}

    assert caused | set(NOT_CAUSED) == {case.alert for case in CASES}
    assert not caused & set(NOT_CAUSED)
