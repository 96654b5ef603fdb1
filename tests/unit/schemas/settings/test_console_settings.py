"""The console's settings: closed unless it is told otherwise."""

import pytest
from pydantic import ValidationError

from schemas.settings.console import CONSOLE_PORT, ConsoleSettings


def test_by_default_it_is_this_machines_own() -> None:
    console = ConsoleSettings()
    assert console.enabled
    assert console.is_loopback
    assert console.url == f"http://127.0.0.1:{CONSOLE_PORT}"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert ConsoleSettings(host=host).is_loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "headrace.local", "fe80::1"])
def test_others_are_not_let_in_without_tokens(host: str) -> None:
    with pytest.raises(ValidationError, match="read_token_file"):
        ConsoleSettings(host=host)
    with pytest.raises(ValidationError, match="read_token_file"):
        ConsoleSettings(host=host, act_token_env="ACT")
    assert not ConsoleSettings(host=host, read_token_env="READ").is_loopback
    assert not ConsoleSettings(host=host, enabled=False).enabled


@pytest.mark.parametrize(
    "url",
    [
        "https://headrace.example.com",
        "http://10.0.0.7:8270",
        "http://[2001:db8::7]",
        "http://localhost.example.com",
    ],
)
def test_a_proxy_lets_nobody_in_without_tokens(url: str) -> None:
    with pytest.raises(ValidationError, match=r"public_url: .*read_token_file"):
        ConsoleSettings(public_url=url)
    with pytest.raises(ValidationError, match=r"public_url: .*read_token_file"):
        ConsoleSettings(public_url=url, act_token_env="ACT")
    assert ConsoleSettings(public_url=url, read_token_env="READ").public_url == url
    assert not ConsoleSettings(public_url=url, enabled=False).enabled


@pytest.mark.parametrize(
    "url", ["http://localhost:80", "https://127.0.0.1", "http://[::1]:8270", "http://127.9.9.9"]
)
def test_a_proxy_for_this_machine_alone_needs_no_token(url: str) -> None:
    assert ConsoleSettings(public_url=url).url == url


@pytest.mark.parametrize("url", ["http://[oops", "http://:80", "https://[]"])
def test_a_public_url_has_a_host(url: str) -> None:
    with pytest.raises(ValidationError, match="has no host"):
        ConsoleSettings(public_url=url, read_token_env="READ")


def test_a_token_has_one_source() -> None:
    with pytest.raises(ValidationError, match="set one of them"):
        ConsoleSettings(read_token_env="READ", read_token_file="/run/token")


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({"host": "::1", "port": 1}, "http://[::1]:1"),
        ({"host": "0.0.0.0", "read_token_env": "R", "port": 2}, "http://127.0.0.1:2"),
        (
            {"public_url": "https://headrace.example.com", "read_token_env": "R"},
            "https://headrace.example.com",
        ),
        ({"tls": {"cert_file": "c", "key_file": "k"}, "port": 3}, "https://127.0.0.1:3"),
    ],
)
def test_where_a_browser_goes(values: dict[str, object], url: str) -> None:
    assert ConsoleSettings.model_validate(values).url == url
