"""Which ends of a consumer process a fault explains."""

import asyncio
import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.chaos.stage.processes import Member


async def ended(folder: Path) -> Member:
    member = Member("consumer1", 0, folder)
    # Status 1, like a process that finds no broker.
    await member.spawn("no_such_module")
    await member.process.wait()
    return member


@pytest.mark.parametrize(
    ("is_cut_off", "has_started", "is_explained"),
    [(True, False, True), (True, True, False), (False, False, False), (False, True, False)],
)
async def test_only_a_start_without_a_broker_explains_an_end(
    tmp_path: Path, *, is_cut_off: bool, has_started: bool, is_explained: bool
) -> None:
    member = await ended(tmp_path)
    member.has_started = has_started
    reason = member.unforeseen_end(is_cut_off=is_cut_off)
    assert reason == (None if is_explained else "it ended with status 1")
    member.failure = "the model is gone"
    if not is_explained:
        assert member.unforeseen_end(is_cut_off=is_cut_off) == "the model is gone"


async def test_a_kill_explains_every_end(tmp_path: Path) -> None:
    member = await ended(tmp_path)
    member.has_started = True
    await member.kill()
    assert member.unforeseen_end(is_cut_off=False) is None


@pytest.mark.parametrize(
    ("is_recreated", "failure", "is_explained"),
    [
        (True, "the topic was deleted and created again", True),
        (True, "the topic is gone; create it again", True),
        (True, "the model is gone", False),
        (False, "the topic was deleted and created again", False),
    ],
)
async def test_a_topic_that_is_another_explains_an_end(
    tmp_path: Path, *, is_recreated: bool, failure: str, is_explained: bool
) -> None:
    member = await ended(tmp_path)
    member.has_started = True
    member.failure = failure
    reason = member.unforeseen_end(is_cut_off=False, is_recreated=is_recreated)
    assert reason == (None if is_explained else failure)


async def test_a_connection_is_known_by_its_local_port(tmp_path: Path) -> None:
    """Two processes have a connection to one port; each has its own local port."""
    other = Member("consumer1", 0, tmp_path)
    await other.spawn("http.server", "0")
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as ours,
    ):
        port = ours.getsockname()[1]
        assert not other.has_port(port)
        this = Member("consumer2", 1, tmp_path)
        this._process = cast("asyncio.subprocess.Process", SimpleNamespace(pid=os.getpid()))
        assert this.has_port(port)
    await other.kill()
    assert not other.has_port(port)
