"""What an administrative connection makes of refusals, and of a connection that goes."""

import logging
from types import SimpleNamespace
from typing import Any, Never, Self

import pytest
from aiokafka import errors
from aiokafka.admin import AIOKafkaAdminClient

from consumer.kafka.admin import admin as admin_module
from consumer.kafka.admin.admin import TopicAdmin
from consumer.kafka.admin.topic_settings import DEFAULT_LIMITS, MAX_MESSAGE_BYTES, TopicLimits
from headrace import topics
from schemas.settings.file import KafkaSettings, Settings

TOLD, DENIED = "results", "dead-letters"
ROUTE = {
    "model": "m",
    "requests_topic": "requests",
    "results_topic": TOLD,
    "dead_letters_topic": DENIED,
    "group": "g",
}


class Client:
    """Tells the settings of one topic, and refuses those of the other."""

    async def describe_configs(self, _resources: Any) -> list[Any]:
        told = (0, None, 2, TOLD, [(MAX_MESSAGE_BYTES, "2000000")])
        denied: Any = (errors.TopicAuthorizationFailedError.errno, None, 2, DENIED, [])
        return [SimpleNamespace(resources=[told, denied])]


class Connected(TopicAdmin):
    async def __aenter__(self) -> Self:
        client: Any = Client()
        self._client = client
        return self

    async def __aexit__(self, *_: object) -> None: ...


async def test_a_topic_whose_settings_may_not_be_read_is_named_with_the_right_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    known = {TOLD: TopicLimits(2_000_000), DENIED: DEFAULT_LIMITS}
    async with Connected(KafkaSettings()) as admin:
        with caplog.at_level(logging.WARNING):
            assert await admin.topic_limits([TOLD, DENIED]) == known
            assert await admin.topic_limits([TOLD, DENIED], known) == known

    (warning,) = caplog.messages
    assert DENIED in warning
    assert "DescribeConfigs" in warning


def test_the_commands_say_so_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "TopicAdmin", Connected)
    settings = Settings.model_validate(
        {
            "models": {"m": {"kind": "custom", "import_path": "m:C", "urls": ["/x"]}},
            "routes": {"one": ROUTE},
        }
    )

    (warning,) = topics.find_unfit_topics(settings)

    assert DENIED in warning
    assert "DescribeConfigs" in warning


@pytest.mark.parametrize("error", [KeyError((1, 0)), OSError("gone")])
async def test_a_connection_that_goes_meanwhile_leaves_the_defaults(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: Any) -> None: ...

    async def fail(*_: Any, **_options: Any) -> Never:
        raise error

    monkeypatch.setattr(AIOKafkaAdminClient, "start", nothing)
    monkeypatch.setattr(admin_module, "contact", nothing)
    monkeypatch.setattr("aiokafka.client.AIOKafkaClient.ready", fail)
    async with TopicAdmin(KafkaSettings()) as admin:
        assert await admin.topic_limits([TOLD]) == {TOLD: DEFAULT_LIMITS}
