"""The page and the runbooks say what the code has."""

import re
from pathlib import Path

from headrace.observability.alerts.groups import alert_groups
from headrace.observability.page import metrics_page
from schemas.metrics import ALL
from tests.unit.headrace.observability.alert_cases import settings

_ROOT = Path(__file__).parents[4]
_DOCS = _ROOT / "docs"


def test_the_page_is_what_the_table_renders_to() -> None:
    assert (_DOCS / "metrics.md").read_text() == metrics_page(), "run `make docs`"


def test_names_are_unique_and_have_labels_of_few_values() -> None:
    assert len({each.exported for each in ALL}) == len(ALL)
    assert {label for each in ALL for label in each.labels} <= {
        *("route", "model", "outcome", "step", "called", "gpu", "deployment", "clamp")
    }


def test_each_alert_has_a_runbook_and_each_runbook_an_alert() -> None:
    alerts = {
        each["alert"]: each["annotations"]["runbook"]
        for group in alert_groups(settings())
        for each in group["rules"]
    }
    runbooks = (_DOCS / "runbooks.md").read_text()
    headings = set(re.findall(r"^## (Headrace\w+)$", runbooks, re.MULTILINE))

    assert set(alerts) == headings
    assert all(link == f"docs/runbooks.md#{name.lower()}" for name, link in alerts.items())
