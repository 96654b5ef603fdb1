"""Each alert is one that Prometheus takes, fires at its fault, and is silent in ordinary work."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from handoff.histogram import LATENCY_BOUNDS_S
from headrace.observability.alerts.alert import Pace
from headrace.observability.alerts.groups import alert_groups
from headrace.observability.alerts.models import NOT_OURS
from schemas.metrics import ALL, VLLM
from schemas.settings.alerts import AlertSettings
from tests.unit.headrace.observability.alert_cases import CASES, promtool_test, settings

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="promtool is not installed: it comes with Prometheus (apt-get install prometheus)",
)


def rules() -> list[dict[str, Any]]:
    return [rule for group in alert_groups(settings()) for rule in group["rules"]]


def promtool(*arguments: str) -> str:
    done = subprocess.run(
        ["promtool", *arguments], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_alert_has_a_case() -> None:
    assert {each["alert"] for each in rules()} == {case.alert for case in CASES}
    assert len({case.alert for case in CASES}) == len(CASES)


def test_each_metric_of_an_alert_is_in_the_table() -> None:
    known = {each.exported for each in (*ALL, *VLLM)} | NOT_OURS
    for rule in rules():
        asked = set(re.findall(r"\bray_\w+", rule["expr"]))
        assert asked, rule["alert"]
        assert asked <= known, rule["alert"]


@needs_promtool
@pytest.mark.parametrize("divisor", [1, 60, 100])
def test_prometheus_takes_the_rules(tmp_path: Path, divisor: float) -> None:
    path = tmp_path / "alerts.yaml"
    path.write_text(yaml.safe_dump({"groups": alert_groups(settings(), Pace(divisor))}))

    found = promtool("check", "rules", str(path))

    assert f"{len(rules())} rules found" in found


@needs_promtool
def test_each_alert_fires_at_its_fault_and_is_silent_before_and_after(tmp_path: Path) -> None:
    paths = []
    for case in CASES:
        # Only its own rules, of all routes and models: promtool evaluates each at each minute.
        own = [rule for rule in rules() if rule["alert"] == case.alert]
        (tmp_path / f"{case.alert}.yaml").write_text(
            yaml.safe_dump({"groups": [{"name": "alert", "rules": own}]})
        )
        content = {
            "rule_files": [f"{case.alert}.yaml"],
            "evaluation_interval": "1m",
            "tests": [promtool_test(case, own[0])],
        }
        paths.append(tmp_path / f"test-{case.alert}.yaml")
        paths[-1].write_text(yaml.safe_dump(content))

    promtool("test", "rules", *map(str, paths))


@needs_promtool
@pytest.mark.parametrize(
    ("alert", "missing"),
    [
        ("HeadraceDeadLetters", "completed_records"),
        ("HeadraceRetrying", "completed_records"),
        ("HeadraceExpiring", "completed_records"),
        ("HeadracePreempting", "request_success"),
    ],
)
def test_a_share_of_none_fires_too(alert: str, missing: str, tmp_path: Path) -> None:
    # Where nothing has been completed yet there is no such counter.
    [case] = [each for each in CASES if each.alert == alert]
    own = [rule for rule in rules() if rule["alert"] == alert]
    test = promtool_test(case, own[0])
    test["input_series"] = [each for each in test["input_series"] if missing not in each["series"]]
    test["alert_rule_test"] = [each for each in test["alert_rule_test"] if each["exp_alerts"]]
    assert test["alert_rule_test"]
    (tmp_path / "rules.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "alert", "rules": own}]})
    )
    content = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(content))

    promtool("test", "rules", str(tmp_path / "test.yaml"))


@pytest.mark.parametrize("limit", ["end_to_end_p99_s", "commit_p99_s", "publish_p95_s"])
def test_a_limit_that_its_histogram_cannot_exceed_is_refused(limit: str) -> None:
    last_s = LATENCY_BOUNDS_S[-1]
    with pytest.raises(ValidationError, match="less than 14400"):
        AlertSettings.model_validate({limit: last_s})
    AlertSettings.model_validate({limit: last_s - 1})


def test_a_limit_of_null_turns_its_alert_off() -> None:
    values = settings().model_dump(mode="json", exclude_unset=True)
    limits = ("lag_s", "held_s", "end_to_end_p99_s", "commit_p99_s", "publish_p95_s")
    for route in values["routes"].values():
        route["alerts"] = dict.fromkeys(limits)

    left = {
        rule["alert"]
        for group in alert_groups(settings().model_validate(values))
        for rule in group["rules"]
    }

    assert {rule["alert"] for rule in rules()} - left == {
        *("HeadraceLagTooLong", "HeadraceRecordHeldTooLong", "HeadraceSlow"),
        *("HeadraceCommitsSlow", "HeadracePublishingSlow"),
    }


@pytest.mark.parametrize(
    ("minutes", "divisor", "shown"),
    [
        (5, 1, "5m"),
        (60, 1, "1h"),
        (5, 60, "5s"),
        (0, 1, "0s"),
        (1, 120, "500ms"),
        (90, 1, "90m"),
    ],
)
def test_a_pace_shortens_windows(minutes: float, divisor: float, shown: str) -> None:
    assert Pace(divisor).of(minutes) == shown


def test_nothing_but_windows_depends_on_the_pace() -> None:
    def without_times(pace: Pace) -> str:
        text = str(alert_groups(settings(), pace))
        return re.sub(r"\b\d+(ms|s|m|h)\b", "TIME", text)

    # The limits in seconds are in the summaries too, and stay.
    assert without_times(Pace(60)) == without_times(Pace())
