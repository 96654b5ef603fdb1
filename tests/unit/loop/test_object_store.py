"""The object store behind references, on a directory and on fsspec's memory."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from consumer.engine.bodies.store import BodyRefusedError, StoreError
from consumer.object_store.object_store import ObjectStore
from schemas.wire.references import IllegalUrlError, RequestBodyReference

BODY = b'{"input":"Mills need rivers."}'


class World:
    """A store, and a way to put objects beside it."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.store = ObjectStore(
            store_url=f"{root}/out",
            route="chat",
            read_prefixes=(f"{root}/in/", f"{root}/out"),
            max_object_bytes=1_000,
        )
        self.store.make_place()

    def put(self, name: str, body: bytes) -> str:
        with fsspec.open(f"{self.root}/{name}", "wb", auto_mkdir=True) as file:
            file.write(body)
        return f"{self.root}/{name}"


@pytest.fixture(params=["file", "memory"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    root = f"file://{tmp_path}" if request.param == "file" else f"memory://{tmp_path.name}"
    world = World(root)
    yield world
    world.store.close()


async def refused(world: World, **reference: object) -> tuple[int, str]:
    with pytest.raises(BodyRefusedError) as caught:
        await world.store.read(RequestBodyReference.model_validate(reference))
    return caught.value.refused.status_code, caught.value.refused.message


async def test_what_is_written_can_be_read_by_its_reference(world: World) -> None:
    reference = await world.store.write("requests-0-41", BODY)
    sha256 = hashlib.sha256(BODY).hexdigest()
    assert reference.url == f"{world.root}/out/chat/requests-0-41-{sha256[:16]}.json"
    assert (reference.size_bytes, reference.sha256) == (len(BODY), sha256)
    assert await world.store.size_bytes(reference.url) == len(BODY)
    assert await world.store.read(reference) == BODY


async def test_writing_again_changes_nothing(world: World) -> None:
    first = await world.store.write("requests-0-41", BODY)
    assert await world.store.write("requests-0-41", BODY) == first
    other = await world.store.write("requests-0-41", b"{}")
    assert other.url != first.url
    assert await world.store.read(first) == BODY


async def test_a_reference_must_say_what_is_there(world: World) -> None:
    url = world.put("in/a.json", BODY)
    sha256 = hashlib.sha256(BODY).hexdigest()
    read = world.store.read
    assert await read(RequestBodyReference(url=url, size_bytes=30, sha256=sha256)) == BODY
    assert await refused(world, url=url, size_bytes=31) == (
        400,
        "body_ref.size_bytes: the object has 30 bytes",
    )
    status, message = await refused(world, url=url, sha256="0" * 64)
    assert (status, message) == (400, "body_ref.sha256: the object has another checksum")


async def test_sizes_have_a_limit(world: World) -> None:
    for size_bytes in (0, 1_001):
        url = world.put("in/a.json", b"x" * size_bytes)
        status, message = await refused(world, url=url)
        assert status == 400
        assert "max_object_bytes" in message
    url = world.put("in/a.json", b"x" * 1_000)
    assert len(await world.store.read(RequestBodyReference(url=url))) == 1_000


async def test_what_is_not_there_or_not_allowed_is_refused(world: World) -> None:
    world.put("in/dir/a.json", BODY)
    secret = world.put("secret.json", BODY)
    world.put("in2/a.json", BODY)
    assert (await refused(world, url=f"{world.root}/in/none.json"))[0] == 404
    assert (await refused(world, url=f"{world.root}/in/dir"))[0] in {400, 404}
    for url in (
        secret,
        f"{world.root}/in2/a.json",
        f"{world.root}/in/../secret.json",
        f"{world.root}/in/./dir/a.json",
        f"{world.root}/in/%2e%2e/secret.json",
        f"{world.root}/in//dir/a.json",
        f"{world.root}/in",
        f"simplecache::{world.root}/in/dir/a.json",
        f"{world.root}/in/dir/a.json?versionId=1",
        "https://example.com/in/a.json",
    ):
        assert (await refused(world, url=url))[0] == 400, url


async def test_a_directory_that_cannot_be_written_is_a_failure_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"a file")
    store = ObjectStore(
        store_url=f"file://{tmp_path}/out",
        route="chat",
        read_prefixes=(),
        max_object_bytes=1_000,
    )
    with pytest.raises(StoreError):
        await store.write("a", BODY)
    store.close()


async def test_a_bucket_that_is_missing_is_a_failure_of_the_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World("memory://missing")

    def no_bucket(*_arguments: object) -> None:
        raise FileNotFoundError("the specified bucket does not exist")

    monkeypatch.setattr(world.store._systems["memory"], "pipe_file", no_bucket)
    with pytest.raises(StoreError, match="has no place for memory://missing/out/chat"):
        await world.store.write("a", BODY)
    world.store.close()


async def test_links_and_pipes_below_the_prefix_are_refused(tmp_path: Path) -> None:
    world = World(f"file://{tmp_path}")
    (tmp_path / "secret.json").write_bytes(BODY)
    (tmp_path / "in").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.json").write_bytes(BODY)
    (tmp_path / "in/link.json").symlink_to(tmp_path / "secret.json")
    (tmp_path / "in/dir").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "in/pipe.json")
    for name in ("link.json", "dir/a.json", "pipe.json"):
        status, message = await refused(world, url=f"{world.root}/in/{name}")
        assert (status, "link" in message) == (400, True), name
    world.store.close()


async def test_the_prefix_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a.json").write_bytes(BODY)
    (tmp_path / "in").symlink_to(tmp_path / "real")
    world = World(f"file://{tmp_path}")
    url = f"{world.root}/in/a.json"
    assert await world.store.read(RequestBodyReference(url=url)) == BODY
    world.store.close()


async def test_nothing_is_left_of_a_write_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(f"file://{tmp_path}")

    def fail(_descriptor: int) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match="no space left"):
        await world.store.write("a", BODY)
    assert list((tmp_path / "out/chat").iterdir()) == []
    world.store.close()


def test_a_scheme_whose_package_is_missing_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(scheme: str, **_options: object) -> None:
        raise ImportError(f"Install {scheme}fs to access it")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(ImportError, match=r"s3://.*Install s3fs"):
        ObjectStore(store_url="s3://bucket/out", route="chat", read_prefixes=(), max_object_bytes=1)


@pytest.mark.parametrize("url", ["https://host/x", "/srv/x", "file://srv/x", "file:///", "s3://"])
def test_a_store_must_be_a_plain_url(url: str) -> None:
    with pytest.raises(IllegalUrlError):
        ObjectStore(store_url=url, route="chat", read_prefixes=(), max_object_bytes=1)


async def test_a_place_that_is_missing_is_a_failure_of_the_store(world: World) -> None:
    """A mount that is not there yet, or a bucket: no request can help that."""
    reference = RequestBodyReference(url=f"{world.root}-unmounted/in/a.json")
    unmounted = World(f"{world.root}-unmounted")
    with pytest.raises(StoreError, match=r"-unmounted.* is not there.*request_prefixes: mount"):
        await unmounted.store.read(reference)
    with pytest.raises(StoreError, match="is not there"):
        await unmounted.store.size_bytes(reference.url)
    unmounted.put("in/other.json", BODY)
    assert (await refused(unmounted, url=reference.url))[0] == 404
    unmounted.put("in/a.json", BODY)
    assert await unmounted.store.read(reference) == BODY
    unmounted.store.close()


async def test_a_mount_that_goes_is_not_written_below(tmp_path: Path) -> None:
    world = World(f"file://{tmp_path}/mount")
    assert (tmp_path / "mount/out").is_dir()
    (tmp_path / "mount/out").rename(tmp_path / "gone")
    with pytest.raises(StoreError, match=r"claim_check.store.*mount/out is not there: mount or"):
        await world.store.write("a", BODY)
    assert not (tmp_path / "mount/out").exists()
    (tmp_path / "gone").rename(tmp_path / "mount/out")
    await world.store.write("a", BODY)
    world.store.close()


def test_a_directory_for_results_is_made_at_the_start_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(f"file://{tmp_path}/new")
    assert f"made {tmp_path}/new/out; if a mount belongs there, it is missing" in caplog.text
    world.store.make_place()
    assert len(caplog.records) == 1
    world.store.close()
    World("memory://nothing-to-make").store.close()


async def test_a_directory_for_results_that_cannot_be_made_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    world = World(f"file://{tmp_path}/file")
    assert "cannot be made" in caplog.text
    with pytest.raises(StoreError):
        await world.store.write("a", BODY)
    world.store.close()
