"""Which Ray cluster a command joins, and what it says if it cannot."""

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import ray

from headrace.errors import ServiceError
from headrace.service import joining


@pytest.fixture
def open_port() -> Iterator[int]:
    """A port on which something listens, as a head does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def raylets(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The processes of this machine; one is a node's."""
    found = [SimpleNamespace(info={"name": "raylet"})]
    monkeypatch.setattr(psutil, "process_iter", lambda _names: found)
    return found


def ray_answers(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
    def init(**_options: object) -> None:
        if error is not None:
            raise error

    monkeypatch.setattr(ray, "init", init)


@pytest.mark.parametrize("address", [None, "", "auto"])
@pytest.mark.parametrize(
    "error", [ConnectionError("none"), RuntimeError("a file still names one that has ended")]
)
def test_without_an_address_there_may_be_none(
    address: str | None, error: Exception, raylets: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    raylets.clear()
    monkeypatch.delenv(joining.VARIABLE, raising=False)
    if address is not None:
        monkeypatch.setenv(joining.VARIABLE, address)
    ray_answers(monkeypatch, error)

    assert not joining.join_ray()


def test_a_node_whose_head_is_away_gets_no_second_ray(
    raylets: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(joining.VARIABLE, raising=False)
    ray_answers(monkeypatch, RuntimeError("Failed to connect to GCS"))

    with pytest.raises(ServiceError, match="a Ray cluster whose head does not answer"):
        joining.join_ray()


def test_a_cluster_that_answers_is_joined(
    open_port: int, raylets: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(joining.VARIABLE, f"127.0.0.1:{open_port}")
    ray_answers(monkeypatch, None)

    assert joining.join_ray()


def test_local_joins_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(joining.VARIABLE, "local")
    ray_answers(monkeypatch, AssertionError("it would start one"))

    assert not joining.join_ray()


def test_a_named_cluster_that_is_gone_is_an_error_and_no_other_is_started(
    open_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed_port = listener.getsockname()[1]
    monkeypatch.setenv(joining.VARIABLE, f"127.0.0.1:{closed_port}")
    ray_answers(monkeypatch, AssertionError("Ray would wait for half a minute"))

    with pytest.raises(ServiceError, match=f"no Ray cluster answers at 127.0.0.1:{closed_port}"):
        joining.join_ray()


@pytest.mark.parametrize("address", ["ray://head:10001", "http://head:8265", "head"])
def test_only_the_head_s_own_port_will_do(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(joining.VARIABLE, address)

    with pytest.raises(ServiceError, match=r"is not HOST:PORT .* on a node of the cluster"):
        joining.join_ray()


def test_a_machine_outside_the_cluster_is_told_so(
    open_port: int, raylets: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(joining.VARIABLE, f"127.0.0.1:{open_port}")
    ray_answers(monkeypatch, RuntimeError("No node info found"))

    with pytest.raises(ServiceError, match=r"cannot be joined from this machine: No node"):
        joining.join_ray()
    raylets.clear()
    with pytest.raises(ServiceError, match=r"is no node of the cluster"):
        joining.join_ray()
