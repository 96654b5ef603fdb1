"""Credentials follow their files, and connections follow the credentials."""

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


async def test_an_idle_connection_of_old_credentials_is_replaced(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.0)
    client = AIOKafkaClient(
        bootstrap_servers="a:1", security_protocol="SASL_PLAINTEXT",
        **Credentials(scram(file)).options(),
    )  # fmt: skip
    made: list[FakeConnection] = []

    async def get(node_id: int, *, group: Any = ConnectionGroup.DEFAULT) -> FakeConnection:
        held: FakeConnection | None = client._conns.get((node_id, group))
        if held is None or not held.connected():
            held = client._conns[node_id, group] = FakeConnection()
            made.append(held)
        return held

    client._get_conn = get
    mend_client(client)
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
