"""Which topics a request may name for its result, as the settings say it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.settings.file import Settings
from schemas.wire.reply_topics import is_allowed, is_legal_topic, matches, overlap

NAMES = st.text("ab.-_", min_size=1, max_size=5)
PATTERNS = st.builds(lambda name, mark: name + mark, NAMES, st.sampled_from(["", "*"]))


def settings(*patterns: str, **others: Any) -> Settings:
    routes = {
        name: {
            "model": "m",
            "requests_topic": f"{name}.in",
            "results_topic": f"{name}.out",
            "dead_letters_topic": f"{name}.dead",
            "control_topic": f"{name}.control",
            "group": name,
        }
        for name in ("one", "two")
    }
    routes["one"]["reply_topics"] = list(patterns)  # type: ignore[assignment]
    routes["two"] |= others
    models = {"m": {"kind": "custom", "import_path": "m:C", "urls": ["/x"]}}
    return Settings.model_validate({"models": models, "routes": routes})


def test_names_and_prefixes_are_allowed() -> None:
    found = settings("bulk-*", "team-a.replies").routes["one"].reply_topics
    assert found == ("bulk-*", "team-a.replies")


@pytest.mark.parametrize("pattern", ["", "*", "a*b", "**", "a b", "..", "_*", "__x", "__consumer*"])
def test_other_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(ValidationError, match="reply_topics"):
        settings(pattern)


@pytest.mark.parametrize(
    ("pattern", "topic"),
    [
        ("one.in", "one.in"),
        ("one.*", "one.in"),
        ("one.out", "one.out"),
        ("two.o*", "two.out"),
        ("two.dead", "two.dead"),
        ("one.dead-*", "one.dead-handled"),
        ("two.c*", "two.control"),
        ("t*", "two.in"),
    ],
)
def test_a_pattern_that_matches_a_routes_own_topic_is_refused(pattern: str, topic: str) -> None:
    with pytest.raises(ValidationError) as refused:
        settings("bulk-*", pattern)
    assert "routes.one.reply_topics" in str(refused.value)
    assert f"'{pattern}' matches {topic}" in str(refused.value)


@pytest.mark.parametrize("pattern", ["headrace.jobs", "headrace.*", "h*"])
def test_a_pattern_that_matches_the_registry_of_jobs_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError, match=r"matches headrace\.jobs, jobs\.topic"):
        settings("bulk-*", pattern)
    settings("headrace.jobs-*")


def test_routes_that_answer_the_same_requests_share_no_reply_topic() -> None:
    same = {"requests_topic": "one.in", "reply_topics": ["bulk-a*"]}
    with pytest.raises(ValidationError, match="ids of their results would collide"):
        settings("bulk-*", **same)
    settings("jobs-*", **same)
    settings("bulk-*", reply_topics=["bulk-*"])


@given(NAMES, PATTERNS, PATTERNS)
def test_patterns_that_match_one_topic_overlap(topic: str, first: str, second: str) -> None:
    if matches(first, topic) and matches(second, topic):
        assert overlap(first, second)
        assert overlap(second, first)
    assert is_allowed(topic, [first]) == (is_legal_topic(topic) and matches(first, topic))
