"""The registry of jobs has a topic of its own."""

import pytest
from pydantic import ValidationError

from schemas.settings.file import Settings

SETTINGS = {
    "models": {"m": {"kind": "custom", "import_path": "m:C", "urls": ["/x"]}},
    "routes": {
        "one": {
            "model": "m",
            "requests_topic": "in",
            "results_topic": "out",
            "dead_letters_topic": "dead",
            "control_topic": "control",
            "group": "g",
        }
    },
}


def test_its_name_is_a_setting() -> None:
    assert Settings.model_validate(SETTINGS).jobs.topic == "headrace.jobs"
    assert Settings.model_validate(SETTINGS | {"jobs": {"topic": "a"}}).jobs.topic == "a"


@pytest.mark.parametrize("topic", ["in", "out", "dead", "control"])
def test_a_routes_topic_is_refused(topic: str) -> None:
    with pytest.raises(ValidationError, match=r"jobs\.topic: .* is a topic of route 'one'"):
        Settings.model_validate(SETTINGS | {"jobs": {"topic": topic}})
