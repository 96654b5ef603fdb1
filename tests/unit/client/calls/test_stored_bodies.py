"""A body in an object store is read and checked."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from headrace_client import BodyFetchError
from headrace_client.calls.stored_bodies import fetch_body

CONTENT = b'{"data": []}'


@pytest.fixture
def reference(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "body.json"
    path.write_bytes(CONTENT)
    return {
        "url": f"file://{path}",
        "size_bytes": len(CONTENT),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
    }


async def test_a_body_is_read(reference: dict[str, Any]) -> None:
    assert await fetch_body(reference) == {"data": []}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size_bytes": 3}, "not the 3 of its reference"),
        ({"sha256": "0" * 64}, "another checksum"),
        ({"url": "http://host/body"}, "no plain place"),
        ({"url": "simplecache::file:///body"}, "no plain place"),
        ({"url": "file:///nowhere/body"}, "cannot be read"),
    ],
)
async def test_a_body_that_is_not_what_it_should_be(
    reference: dict[str, Any], wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(BodyFetchError, match=message):
        await fetch_body(reference | wrong)


async def test_without_fsspec_the_error_says_what_to_install(
    reference: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace_client.calls.stored_bodies.find_spec", lambda name: None)

    with pytest.raises(BodyFetchError, match="pip install fsspec"):
        await fetch_body(reference)
