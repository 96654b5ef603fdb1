"""Credentials follow their files, and connections follow the credentials."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import CloseReason

from headrace_client import Connection, OAuth, Sasl, SettingsError, Tls
from headrace_client.kafka.mending import mend_client
from headrace_client.kafka.security import credentials as module
from headrace_client.kafka.security.credentials import Credentials
from headrace_client.kafka.security.token_endpoint import Token
from headrace_client.kafka.security.tokens import TokenSource


class FakeConnection:
    def __init__(self) -> None:
        self._requests: list[object] = []
        self.closed: list[CloseReason] = []

    def connected(self) -> bool:
        return not self.closed

    def close(self, reason: CloseReason) -> None:
        self.closed.append(reason)


def scram(file: Path) -> Connection:
    return Connection(sasl=Sasl(username="u", password_file=str(file)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "password"
    made.write_text("first\n")
    return made


def replace(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


def test_a_password_comes_from_a_file_or_the_environment(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_PASSWORD", "from there")
    reference = Connection(sasl=Sasl(username="u", password="${THE_PASSWORD}"))

    assert Credentials(scram(file)).options()["sasl_plain_password"] == "first"
    assert Credentials(reference).options()["sasl_plain_password"] == "from there"


def test_what_is_missing_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_VARIABLE", raising=False)
    with pytest.raises(SettingsError, match=r"sasl\.password: \$\{NO_SUCH_VARIABLE\} is not"):
        Credentials(Connection(sasl=Sasl(username="u", password="${NO_SUCH_VARIABLE}")))
    file.write_text("\n")
    with pytest.raises(SettingsError, match=r"password_file: .* is empty"):
        Credentials(scram(file))
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="not UTF-8"):
        Credentials(scram(file))
    file.unlink()
    with pytest.raises(SettingsError, match=r"kafka\.sasl\.password_file: cannot read"):
        Credentials(scram(file))


def test_a_changed_file_is_read_again(file: Path) -> None:
    found = Credentials(scram(file))
    client: Any = SimpleNamespace()
    replace(file, "second")
    found.refresh(client, now_s=10.0)

    assert client._sasl_plain_password == "second"
    assert found.edition == 1


def test_a_file_that_is_away_for_a_moment_changes_nothing(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = Credentials(scram(file))
    client: Any = SimpleNamespace()
    file.unlink()
    found.refresh(client, now_s=10.0)
    assert client._sasl_plain_password == "first"
    assert found.edition == 0
    assert "cannot be used yet" in caplog.text
    file.write_text("second")
    found.refresh(client, now_s=20.0)
    assert client._sasl_plain_password == "second"


def test_a_certificate_without_its_key_is_waited_for(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot load cert_file"):
        Credentials(
            Connection(tls=Tls(cert_file=str(tmp_path / "c"), key_file=str(tmp_path / "k")))
        )


class Broker:
    """Accepts connections of a client, or refuses them."""

    def __init__(self, connection: Connection) -> None:
        self.accepts = True
        self.made: list[FakeConnection] = []
        self.credentials = Credentials(connection)
        self.client = AIOKafkaClient(
            bootstrap_servers="a:1",
            security_protocol="SASL_PLAINTEXT",
            **self.credentials.options(),
        )
        self.client._get_conn = self._get
        mend_client(self.client)

    async def _get(
        self, node_id: int, *, group: Any = ConnectionGroup.DEFAULT
    ) -> FakeConnection | None:
        held: FakeConnection | None = self.client._conns.get((node_id, group))
        if held is not None and held.connected():
            return held
        if self.credentials._tokens is not None:
            await self.credentials.token()
        if not self.accepts:
            return None
        held = self.client._conns[node_id, group] = FakeConnection()
        self.made.append(held)
        return held


async def test_an_idle_connection_of_old_credentials_is_replaced(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.0)
    client = Broker(scram(file)).client
    first = await client._get_conn(1)
    assert await client._get_conn(1) is first

    first._requests.append("a request under way")
    replace(file, "second")
    assert await client._get_conn(1) is first
    first._requests.clear()
    second = await client._get_conn(1)

    assert second is not first
    assert first.closed == [CloseReason.IDLE_DROP]
    assert client._sasl_plain_password == "second"
    assert await client._get_conn(1) is second
    assert list(client._conns.values()) == [second]
    client._conns.clear()


async def test_a_good_connection_stays_until_one_of_new_credentials_is_made(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(module, "RECONNECT_AFTER_S", 0.0)
    broker = Broker(scram(file))
    first = await broker.client._get_conn(1)
    replace(file, "the broker does not know it yet")
    broker.accepts = False
    assert await broker.client._get_conn(1) is first
    assert not first.closed

    broker.accepts = True
    assert await broker.client._get_conn(1) is not first
    assert first.closed == [CloseReason.IDLE_DROP]
    broker.client._conns.clear()


async def test_a_connection_stays_until_there_is_a_newer_token_or_its_own_has_expired(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    started_s, later_s, is_away = loop.time(), 0.0, False
    monkeypatch.setattr(loop, "time", lambda: started_s + later_s)

    def fetch() -> Token:
        if is_away:
            raise ValueError("the provider is away")
        return Token("t", loop.time() + 100)

    tokens = TokenSource(fetch, clock=loop.time)
    monkeypatch.setattr(module, "tokens_of", lambda _oauth: tokens)
    oauth = OAuth(token_url="https://id.example/t", client_id="c", client_secret="s")
    broker = Broker(Connection(sasl=Sasl(mechanism="OAUTHBEARER", oauth=oauth)))
    client = broker.client

    async def fetched() -> None:
        assert broker.credentials._fetching is not None
        await asyncio.wait([broker.credentials._fetching])

    first = await client._get_conn(1)
    later_s, is_away = 92.0, True
    for _ in range(2):
        assert await client._get_conn(1) is first
        await fetched()
        assert not first.closed

    later_s, is_away = 97.0, False
    assert await client._get_conn(1) is first
    await fetched()
    second = await client._get_conn(1)
    assert second is not first
    assert first.closed == [CloseReason.IDLE_DROP]

    # A broker ends a connection with the first request after that.
    later_s = 300.0
    assert await client._get_conn(1) is not second
    assert second.closed
    await fetched()
    client._conns.clear()


def test_a_plain_connection_needs_no_credentials() -> None:
    assert Credentials(Connection()).options() == {}


def test_extensions_go_with_the_token() -> None:
    oauth = OAuth(
        token_url="https://id.example/t",
        client_id="c",
        client_secret="s",
        extensions={"logicalCluster": "lkc"},
    )
    found = Credentials(Connection(sasl=Sasl(mechanism="OAUTHBEARER", oauth=oauth)))

    assert found.extensions() == {"logicalCluster": "lkc"}
    assert found.options()["sasl_mechanism"] == "OAUTHBEARER"
