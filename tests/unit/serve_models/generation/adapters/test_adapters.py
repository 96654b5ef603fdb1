"""Adapters come and go while requests use them."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_models.generation.adapters import adapters as module
from serve_models.generation.adapters.adapters import Adapters, UnknownAdapterError
from serve_models.generation.adapters.checkpoint import AdapterCheckpoint, AdapterError
from serve_models.generation.adapters.room import AdapterRoom
from serve_models.weights.sources import ModelSourceError

ROOM = AdapterRoom(max_lora_rank=16, max_cpu_loras=4)


class FakeEngine:
    """Keeps keys; loads at once, or once the test lets it."""

    def __init__(self) -> None:
        self.loaded: dict[str, Path] = {}
        self.keys: list[str] = []
        self.refuses: set[str] = set()
        self.may_load = asyncio.Event()
        self.may_load.set()

    async def load(self, key: str, directory: Path) -> None:
        await self.may_load.wait()
        if str(directory) in self.refuses:
            raise AdapterError(f"vLLM refuses {directory}: no such module")
        assert key not in self.keys
        self.keys.append(key)
        self.loaded[key] = directory

    async def unload(self, key: str) -> None:
        del self.loaded[key]


class World:
    def __init__(self, room: AdapterRoom | None = ROOM) -> None:
        self.engine = FakeEngine()
        self.missing: set[str] = set()
        self.adapters = Adapters(self.engine, room, {"chat"}, self._find)

    def _find(self, source: str) -> Path:
        if source in self.missing:
            raise ModelSourceError(f"source: there is no directory {source}")
        return Path(source)

    @property
    def directories(self) -> list[str]:
        return sorted(map(str, self.engine.loaded.values()))

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def ranks(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The ranks of adapters by directory; 8 where the test sets none."""
    found: dict[str, int] = {}

    def read(directory: Path) -> AdapterCheckpoint:
        return AdapterCheckpoint(directory, found.get(str(directory), 8))

    monkeypatch.setattr(module, "read_checkpoint", read)
    return found


async def test_what_is_wanted_is_loaded_and_nothing_twice() -> None:
    world = World()
    await world.adapters.apply({"a": "/1", "b": "/2"})
    await world.adapters.apply({"a": "/1", "b": "/2"})
    assert world.adapters.loaded == {"a": "/1", "b": "/2"}
    assert len(world.engine.keys) == 2
    async with world.adapters.lease("b") as key:
        assert world.engine.loaded[key] == Path("/2")


async def test_an_unknown_name_is_told_apart_from_one_that_could_not_be_loaded() -> None:
    world = World()
    world.engine.refuses.add("/broken")
    world.missing.add("/missing")
    await world.adapters.apply({"broken": "/broken", "missing": "/missing", "fine": "/1"})
    assert world.adapters.loaded == {"fine": "/1"}
    assert set(world.adapters.problems) == {"broken", "missing"}
    with pytest.raises(AdapterError, match=r"adapters\.broken: vLLM refuses"):
        async with world.adapters.lease("broken"):
            pass
    with pytest.raises(UnknownAdapterError):
        async with world.adapters.lease("nobody"):
            pass
    # Mended, it is loaded by the next change.
    world.missing.clear()
    await world.adapters.apply({"missing": "/missing", "fine": "/1"})
    assert world.adapters.problems == {}
    assert world.adapters.loaded == {"missing": "/missing", "fine": "/1"}


async def test_a_removed_one_stays_for_requests_under_way_and_takes_no_more() -> None:
    world = World()
    await world.adapters.apply({"a": "/1", "b": "/2"})
    async with world.adapters.lease("a") as key:
        await world.adapters.apply({"b": "/2"})
        assert key in world.engine.loaded
        with pytest.raises(UnknownAdapterError):
            async with world.adapters.lease("a"):
                pass
        async with world.adapters.lease("b"):
            pass
    await world.settle()
    assert world.directories == ["/2"]


async def test_a_replaced_one_answers_what_it_had_and_the_new_one_the_rest() -> None:
    world = World()
    await world.adapters.apply({"a": "/1"})
    async with world.adapters.lease("a") as old:
        await world.adapters.apply({"a": "/2"})
        async with world.adapters.lease("a") as new:
            assert world.engine.loaded[old] == Path("/1")
            assert world.engine.loaded[new] == Path("/2")
    await world.settle()
    assert world.directories == ["/2"]


async def test_one_whose_replacement_fails_answers_no_more() -> None:
    world = World()
    await world.adapters.apply({"a": "/1"})
    world.engine.refuses.add("/2")
    await world.adapters.apply({"a": "/2"})
    with pytest.raises(AdapterError, match="refuses /2"):
        async with world.adapters.lease("a"):
            pass
    assert world.directories == []


async def test_a_request_waits_for_an_adapter_that_is_being_loaded() -> None:
    world = World()
    world.engine.may_load.clear()
    applying = asyncio.create_task(world.adapters.apply({"a": "/1"}))
    while "a" not in world.adapters.names:
        await asyncio.sleep(0)

    async def use() -> str:
        async with world.adapters.lease("a") as key:
            return key

    using = asyncio.create_task(use())
    await world.settle()
    assert not using.done()
    world.engine.may_load.set()
    await applying
    assert world.engine.loaded[await using] == Path("/1")


async def test_what_has_no_room_is_refused_and_what_leaves_still_takes_some(
    ranks: dict[str, int],
) -> None:
    world = World(AdapterRoom(16, 2))
    ranks["/large"] = 64
    await world.adapters.apply({"a": "/1"})
    with pytest.raises(AdapterError, match="max_lora_rank to 64"):
        await world.adapters.check("b", "/large")
    await world.adapters.check("b", "/2")
    async with world.adapters.lease("a"):
        await world.adapters.apply({"b": "/2"})
        with pytest.raises(AdapterError, match="max_cpu_loras"):
            await world.adapters.check("c", "/3")
    await world.settle()
    await world.adapters.check("c", "/3")
    none = World(None)
    with pytest.raises(AdapterError, match="without room"):
        await none.adapters.check("a", "/1")


NAMES = st.sampled_from("abcde")
SOURCES = st.sampled_from(["/1", "/2", "/broken"])


@given(
    steps=st.lists(
        st.one_of(st.dictionaries(NAMES, SOURCES, max_size=4), NAMES, st.integers(0, 5)),
        max_size=30,
    )
)
def test_after_any_changes_and_requests_what_is_loaded_is_what_is_wanted_or_in_use(
    steps: list[Mapping[str, str] | str | int],
) -> None:
    async def scenario() -> None:
        world = World(AdapterRoom(16, 100))
        world.engine.refuses.add("/broken")
        wanted: Mapping[str, str] = {}
        open_leases = []
        for step in steps:
            if isinstance(step, Mapping):
                wanted = step
                await world.adapters.apply(step)
            elif isinstance(step, str):
                lease = world.adapters.lease(step)
                try:
                    key = await lease.__aenter__()
                except UnknownAdapterError:
                    assert step not in wanted
                except AdapterError:
                    assert wanted[step] == "/broken"
                else:
                    assert str(world.engine.loaded[key]) == wanted[step]
                    open_leases.append((lease, key))
            elif step < len(open_leases):
                lease, key = open_leases.pop(step)
                assert key in world.engine.loaded
                await lease.__aexit__(None, None, None)
                await world.settle()
            usable = {name: source for name, source in wanted.items() if source != "/broken"}
            assert world.adapters.loaded == usable
            assert set(world.adapters.problems) == set(wanted) - set(usable)
            assert len(world.engine.loaded) <= len(usable) + len(open_leases)
        for lease, _ in open_leases:
            await lease.__aexit__(None, None, None)
        await world.settle()
        assert len(world.engine.loaded) == len(world.adapters.loaded)

    asyncio.run(scenario())


def test_the_files_of_an_adapter_are_read_where_the_replica_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 4}))

    async def scenario() -> None:
        world = World()
        await world.adapters.apply({"a": str(tmp_path)})
        assert "adapter_model.safetensors" in world.adapters.problems["a"]
        (tmp_path / "adapter_model.safetensors").write_bytes(b"")
        await world.adapters.apply({"a": str(tmp_path)})
        assert world.adapters.loaded == {"a": str(tmp_path)}

    asyncio.run(scenario())
