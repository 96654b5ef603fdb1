"""A test that stands still ends pytest, and says what it waited for."""

import subprocess
import sys
from pathlib import Path

import pytest

_IN_A_TASK = """
import asyncio

async def the_answer():
    await asyncio.Event().wait()

async def stubborn():
    while True:
        try:
            await the_answer()
        except asyncio.CancelledError:
            pass

async def test_it():
    await asyncio.create_task(stubborn(), name="stubborn")
"""

_IN_A_THREAD = """
import threading

def the_answer():
    threading.Event().wait()

def test_it():
    thread = threading.Thread(target=the_answer, name="stubborn")
    thread.start()
    thread.join()
"""

_IN_A_FIXTURE = """
import pytest, threading

@pytest.fixture
def stubborn():
    yield
    the_answer()

def the_answer():
    threading.Event().wait()

def test_it(stubborn):
    pass
"""


@pytest.mark.parametrize(
    "source", [_IN_A_TASK, _IN_A_THREAD, _IN_A_FIXTURE], ids=["task", "thread", "fixture"]
)
def test_a_test_that_stands_still_says_where(source: str, tmp_path: Path) -> None:
    test = tmp_path / "test_standing_still.py"
    test.write_text(source)
    command = [sys.executable, "-m", "pytest", "-p", "tests.hangs", "--timeout=1", str(test)]
    options = ["-o", "asyncio_mode=auto", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    ended = subprocess.run(
        [*command, *options], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 1
    said = ended.stdout + ended.stderr
    assert "test_standing_still.py::test_it has not ended after 1 s" in said
    assert "stubborn" in said
    assert "in the_answer" in said
