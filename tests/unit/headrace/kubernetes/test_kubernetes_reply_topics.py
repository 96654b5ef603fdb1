"""Reply topics in the rendered resources: rights on names and prefixes, topics for names."""

import pytest

from headrace.kubernetes.kafka import kafka_topics, kafka_users
from headrace.kubernetes.names import StrimziCluster
from headrace.topics import wanted_topics
from schemas.settings.file import Settings

CLUSTER = StrimziCluster(name="c", port=9093)


def settings(delivery: str = "at_least_once") -> Settings:
    return Settings.model_validate(
        {
            "kafka": {"sasl": {"username": "headrace", "password": "x"}},
            "models": {"m": {"kind": "custom", "import_path": "m:C", "urls": ["/x"]}},
            "routes": {
                "r": {
                    "model": "m",
                    "requests_topic": "in",
                    "results_topic": "out",
                    "dead_letters_topic": "dead",
                    "group": "g",
                    "delivery": delivery,
                    "reply_topics": ["bulk-*", "team-a.replies"],
                    "limits": {"max_result_bytes": 9_000_000},
                }
            },
        }
    )


def rights(user: dict[str, object]) -> dict[tuple[str, str], set[str]]:
    acls = user["spec"]["authorization"]["acls"]  # type: ignore[index]
    return {
        (each["resource"]["name"], each["resource"]["patternType"]): set(each["operations"])
        for each in acls
        if each["resource"]["type"] == "topic"
    }


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_the_service_may_write_to_names_and_prefixes(delivery: str) -> None:
    service, _ = map(rights, kafka_users(settings(delivery), CLUSTER))
    expected = {"Write", "Describe", "DescribeConfigs"}
    if delivery == "exactly_once":
        expected.add("Read")
    assert service["bulk-", "prefix"] == service["team-a.replies", "literal"] == expected


def test_a_client_may_make_read_and_delete_them() -> None:
    _, client = map(rights, kafka_users(settings(), CLUSTER))
    assert client["bulk-", "prefix"] >= {"Create", "Delete", "Read", "Describe"}
    assert "Write" not in client["team-a.replies", "literal"]


def test_topics_that_are_named_in_full_are_created_and_take_results() -> None:
    wanted = wanted_topics(settings())
    assert set(wanted) == {"in", "out", "dead", "team-a.replies", "headrace.jobs"}
    rendered = kafka_topics(
        settings(), CLUSTER, {name: (info.partitions, 1) for name, info in wanted.items()}
    )
    sizes = {each["spec"]["topicName"]: each["spec"]["config"] for each in rendered}
    assert sizes["team-a.replies"]["max.message.bytes"] >= 9_000_000
