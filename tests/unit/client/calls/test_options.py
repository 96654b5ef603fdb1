"""Arguments are checked when a client is made."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from headrace_client import AsyncHeadrace, Route, SettingsError
from headrace_client.calls.caller import Caller
from headrace_client.calls.options import ClientOptions, Options

NOW_MS = 1_795_000_000_000


def options(**more: Any) -> ClientOptions:
    return ClientOptions.of(
        {"requests_topic": "rq", "results_topic": "rs", "bootstrap": "a:1", **more}
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"timeout": 5}, "timeout: there is no such argument; config, "),
        ({"timeout_s": 0}, "timeout_s: must be above 0"),
        ({"max_in_flight_requests": 0}, "max_in_flight_requests: must be at least 1"),
        ({"results_topic": None}, "requests_topic and results_topic go together"),
        ({"bootstrap": "nowhere"}, "kafka.bootstrap: 'nowhere' is not HOST:PORT"),
    ],
)
def test_a_wrong_argument_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        options(**given).load()

    assert message in str(caught.value)


def test_topics_as_arguments_are_the_only_route() -> None:
    settings = options(control_topic="ct", group="g", route="chat").load()

    assert settings.connection.bootstrap == "a:1"
    assert dict(settings.routes) == {
        "chat": Route(
            name="chat", requests_topic="rq", results_topic="rs", control_topic="ct", group="g"
        )
    }


def test_every_option_is_a_keyword_argument() -> None:
    assert set(Options.__annotations__) == set(ClientOptions.__dataclass_fields__)


async def test_a_timeout_is_a_deadline() -> None:
    caller = Caller(options(timeout_s=2.5), epoch_ms=lambda: NOW_MS)

    assert caller.limit(None).deadline_ms == NOW_MS + 2_500
    assert caller.limit(1).deadline_ms == NOW_MS + 1_000
    assert caller.limit_at(timedelta(hours=1)).deadline_ms == NOW_MS + 3_600_000
    at = datetime.fromtimestamp(NOW_MS / 1000 + 60, UTC)
    assert caller.limit_at(at).deadline_ms == NOW_MS + 60_000
    with pytest.raises(SettingsError, match="with a time zone"):
        caller.limit_at(datetime(2026, 1, 1))  # noqa: DTZ001 - what is refused
    with pytest.raises(SettingsError, match="it passed 60 s ago"):
        caller.limit_at(timedelta(seconds=-60))
    with pytest.raises(SettingsError, match="timeout_s"):
        caller.limit(0)


async def test_a_stream_is_refused_before_anything_is_sent() -> None:
    client = AsyncHeadrace(requests_topic="rq", results_topic="rs", bootstrap="127.0.0.1:1")

    with pytest.raises(SettingsError, match="stream: results come whole"):
        await client.chat([{"role": "user", "content": "hi"}], stream=True)
    with pytest.raises(SettingsError, match="output_dtype: is one of float"):
        await client.embed(["a"], output_dtype="float64")
    await client.close()
