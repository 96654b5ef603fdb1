"""What a token endpoint may answer, and what it is asked; on this machine's loopback."""

import base64
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headrace_client.clock import epoch_ms
from headrace_client.errors import SettingsError
from headrace_client.kafka.security.providers import provider_of
from headrace_client.kafka.security.token_endpoint import (
    MAX_ANSWER_BYTES,
    ask_for_token,
    jwt_expiry_s,
    read_answer,
)
from headrace_client.security import OAuth
from tests.token_endpoint import TokenEndpoint, token_endpoint, unsecured_token


@pytest.fixture(scope="module")
def running() -> Iterator[TokenEndpoint]:
    with token_endpoint() as endpoint:
        yield endpoint


@pytest.fixture
def endpoint(running: TokenEndpoint) -> TokenEndpoint:
    running.asked.clear()
    running.answers.clear()
    running.says_lifetime = True
    running.lifetime_s = 3600.0
    return running


@contextmanager
def dripping(head: bytes) -> Iterator[str]:
    """Serve one connection: ``head``, and a byte each 20 ms, until the other side ends it."""
    server = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            try:
                connection.sendall(head)
                while not ended.wait(0.02):
                    connection.sendall(b"H")
            except OSError:
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/token"
    finally:
        ended.set()
        thread.join()
        server.close()


def oauth(endpoint: TokenEndpoint, **changes: str) -> OAuth:
    values = {"client_id": "head race", "client_secret": "s3cret+/="} | changes
    return OAuth(token_url=endpoint.url, **values)  # type: ignore[arg-type]


def test_client_credentials_are_sent_in_a_header(endpoint: TokenEndpoint) -> None:
    token = ask_for_token(oauth(endpoint, scope="kafka", audience="brokers"))

    [asked] = endpoint.asked
    pair = base64.b64decode(asked.pop("authorization").removeprefix("Basic "))
    # RFC 6749, 2.3.1: both are form-encoded.
    assert pair == b"head+race:s3cret%2B%2F%3D"
    assert asked == {
        "grant_type": "client_credentials",
        "scope": "kafka",
        "audience": "brokers",
    }
    assert 3590 < token.expires_at_s - epoch_ms() / 1000 <= 3600


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 500 Broken\r\nContent-Length: 100000\r\n\r\n",
    ],
)
def test_an_answer_that_drips_ends_in_time(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace_client.kafka.security.token_endpoint.TIMEOUT_S", 0.3)
    with dripping(head) as url:
        asks = OAuth(token_url=url, client_id="c", client_secret="secret")
        with pytest.raises(OSError, match=r"no whole answer within 0\.3 s"):
            ask_for_token(asks)


def test_so_does_a_handshake_of_tls_that_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace_client.kafka.security.token_endpoint.TIMEOUT_S", 0.3)
    # The beginning of a record of 16 KiB.
    with dripping(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc") as url:
        https = url.replace("http:", "https:")
        asks = OAuth(token_url=https, client_id="c", client_secret="secret")
        with pytest.raises(OSError, match=r"no whole answer within 0\.3 s"):
            ask_for_token(asks)


def test_or_in_the_body(endpoint: TokenEndpoint) -> None:
    ask_for_token(oauth(endpoint, client_auth="post"))

    [asked] = endpoint.asked
    assert asked["client_secret"] == "s3cret+/="
    assert asked["authorization"] == ""


def test_the_secret_is_read_from_its_file_each_time(
    endpoint: TokenEndpoint, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    asks = OAuth(
        token_url=endpoint.url, client_id="c", client_secret_file=str(file), client_auth="post"
    )
    for secret in ("first", "second"):
        file.write_text(f"{secret}\n")
        ask_for_token(asks)

    assert [each["client_secret"] for each in endpoint.asked] == ["first", "second"]


def test_a_token_says_how_long_it_lives_where_the_answer_does_not(
    endpoint: TokenEndpoint,
) -> None:
    endpoint.says_lifetime = False
    endpoint.lifetime_s = 77.0

    token = ask_for_token(oauth(endpoint))

    assert token.expires_at_s - epoch_ms() / 1000 == pytest.approx(77, abs=5)


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (401, b'{"error":"invalid_client"}', ValueError, "401, invalid_client; check client_id"),
        (400, b'{"error":"invalid_scope","error_description":"no"}', ValueError, "_scope: no"),
        (503, b"busy", OSError, "answers 503"),
        (429, b"", OSError, "answers 429"),
        (302, b"", ValueError, "it redirects; set token_url"),
        (200, b"no json", ValueError, "no JSON object with an access_token"),
        (200, b'{"access_token":"a\\u0001b"}', ValueError, "other characters"),
        (200, b'{"access_token":7}', ValueError, "other characters"),
        (200, b"[" * 5000, ValueError, "no JSON object"),
    ],
)
def test_an_answer_that_is_no_token_says_why(
    endpoint: TokenEndpoint, status: int, body: bytes, kind: type[Exception], message: str
) -> None:
    endpoint.answers = [(status, body)]

    with pytest.raises(kind, match=message) as caught:
        ask_for_token(oauth(endpoint))

    assert "s3cret" not in str(caught.value)


def test_an_endpoint_that_is_away_may_come_back() -> None:
    away = OAuth(token_url="http://127.0.0.1:1/token", client_id="c", client_secret="s")

    with pytest.raises(OSError, match=r"127\.0\.0\.1:1"):
        ask_for_token(away)


def test_an_endless_answer_is_not_read() -> None:
    with pytest.raises(ValueError, match="over 262,144 bytes"):
        read_answer("u", b"x" * (MAX_ANSWER_BYTES + 1))


@pytest.mark.parametrize(
    "token", ["opaque", "a.b.c", f"a.{base64.urlsafe_b64encode(b'[]').decode()}.c", "a.!.c", "."]
)
def test_a_token_that_says_nothing_of_its_end(token: str) -> None:
    assert jwt_expiry_s(token) is None


def test_the_end_of_a_token_is_read() -> None:
    expiry_s = jwt_expiry_s(unsecured_token("x", 10))

    assert expiry_s is not None
    assert expiry_s - epoch_ms() / 1000 == pytest.approx(10, abs=2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"token_url": "http://id.example/token", "client_id": "c"}, "https://"),
        ({"token_url": "https://id.example/token"}, "needs client_id"),
        ({}, "name a token_url"),
        ({"token_provider": "a:b", "token_url": "https://x"}, "name a token_url"),
        ({"token_provider": "os.system('x')"}, "package.module:function"),
        ({"token_provider": "a:b", "extensions": {"auth": "x"}}, "extensions.auth"),
        ({"token_provider": "a:b", "extensions": {"a": "x\x01y"}}, "extensions.a"),
    ],
)
def test_settings_that_cannot_be(values: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        OAuth(**values)  # type: ignore[arg-type]


def own_provider(*, name: str) -> tuple[object, object]:
    return {
        "good": (unsecured_token("me", 60), epoch_ms() / 1000 + 60),
        "bytes": (b"token", 1.0),
        "no time": ("token", "soon"),
    }[name]


def test_a_provider_of_the_users_own() -> None:
    ask = provider_of(f"{__name__}:own_provider", {"name": "good"})

    assert json.loads(base64.urlsafe_b64decode(ask().value.split(".")[1] + "=="))["sub"] == "me"


@pytest.mark.parametrize("name", ["bytes", "no time"])
def test_a_provider_that_returns_something_else(name: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        provider_of(f"{__name__}:own_provider", {"name": name})()


@pytest.mark.parametrize("path", ["no_such_package:x", "os:no_such", "os:name"])
def test_a_provider_that_is_not_there(path: str) -> None:
    with pytest.raises(SettingsError, match="token_provider"):
        provider_of(path, {})
