"""What is known of topics' limits while the cluster does not tell."""

from collections.abc import Mapping
from typing import Any, Self

import pytest

from consumer.kafka.admin import limits_reader
from consumer.kafka.admin.admin import TopicAdmin
from consumer.kafka.admin.limits_reader import LimitsReader
from consumer.kafka.admin.topic_settings import DEFAULT_LIMITS, MAX_MESSAGE_BYTES, TopicLimits
from schemas.settings.file import KafkaSettings


async def test_limits_stay_known_while_the_cluster_does_not_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers: list[dict[str, dict[str, str]]] = [
        {"results": {MAX_MESSAGE_BYTES: "9000000"}},
        {},
        {"results": {MAX_MESSAGE_BYTES: "500"}, "dead": {MAX_MESSAGE_BYTES: "600"}},
    ]

    class Admin(TopicAdmin):
        async def __aenter__(self) -> Self:
            return self

        async def topic_settings(self, _topics: Any) -> dict[str, dict[str, str]]:
            return answers.pop(0)

    monkeypatch.setattr(limits_reader, "TopicAdmin", Admin)
    seen: list[Mapping[str, TopicLimits]] = []
    reader = LimitsReader(KafkaSettings(), ("results", "dead"), seen.append)

    for _ in range(3):
        await reader.read()

    large = {"results": TopicLimits(9_000_000), "dead": DEFAULT_LIMITS}
    assert seen == [large, large, {"results": TopicLimits(500), "dead": TopicLimits(600)}]
