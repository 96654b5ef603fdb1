"""Parameters of openai's calls are read as openai's own client reads them."""

import httpx
import openai
import pytest

from headrace_client import SettingsError
from headrace_client.drop_in.parameters import NOT_GIVEN, clean, seconds


def test_the_body_has_what_was_given() -> None:
    body, timeout = clean(
        {
            "model": "m",
            "messages": [],
            "temperature": openai.NOT_GIVEN,
            "seed": openai.omit,
            "stop": None,
            "stream": False,
            "extra_body": {"top_k": 5, "model": "other"},
            "extra_headers": {"x": "y"},
            "extra_query": {"x": "y"},
            "timeout": 3,
        }
    )

    assert body == {"model": "other", "messages": [], "stop": None, "top_k": 5}
    assert timeout == 3


def test_a_stream_is_refused() -> None:
    with pytest.raises(SettingsError, match="stream: answers come whole"):
        clean({"stream": True})


def test_timeouts() -> None:
    assert seconds(NOT_GIVEN, 7.0) == 7.0
    assert seconds(openai.NOT_GIVEN, 7.0) == 7.0
    assert seconds(2, 7.0) == 2
    assert seconds(None, 7.0) is None
    assert seconds(httpx.Timeout(5, read=9), 7.0) == 9
