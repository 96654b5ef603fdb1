import asyncio
import sys
from collections.abc import AsyncIterator
from types import ModuleType

import pytest

from handoff.chunk import Chunk, Outcomes
from schemas.settings.models import CustomModelSettings
from serve_models.replicas.custom import CustomModelError, build_custom_model, stream_named


class Upper:
    def __init__(self, suffix: str = "!") -> None:
        self.suffix = suffix

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        outcomes = Outcomes(replica="", window_records=7)
        for index, text in enumerate(chunk.lines):
            outcomes.add(index, 200, text.upper() + self.suffix.encode())
        yield outcomes


class NoGenerator:
    async def infer(self, chunk: Chunk) -> list[Outcomes]:
        return []


@pytest.fixture(autouse=True)
def user_module(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("users_models")
    vars(module).update(Upper=Upper, NoGenerator=NoGenerator)
    monkeypatch.setitem(sys.modules, "users_models", module)


def custom(import_path: str, **options: object) -> CustomModelSettings:
    return CustomModelSettings(
        kind="custom", import_path=import_path, options=options, urls=("/v1/upper",)
    )


async def test_a_users_class_is_built_with_its_options() -> None:
    model = build_custom_model(custom("users_models:Upper", suffix="?"))
    lists = [outcomes async for outcomes in model.infer(Chunk("c", [b"a", b"b"]))]
    assert lists[0].bodies == [b"A?", b"B?"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (custom("no_such_module:Upper"), "import_path: no_such_module:Upper cannot be imported"),
        (custom("users_models:Lower"), "import_path: .* cannot be imported"),
        (custom("users_models:NoGenerator"), "needs a method `async def infer"),
        (custom("users_models:Upper", colour="red"), "options: .*colour"),
    ],
)
def test_a_class_that_cannot_be_used_says_why(settings: CustomModelSettings, words: str) -> None:
    with pytest.raises(CustomModelError, match=words):
        build_custom_model(settings)


class Held:
    """A stream that yields, raises or ends when the test says so."""

    def __init__(self) -> None:
        self.items: asyncio.Queue[Outcomes | BaseException | None] = asyncio.Queue()
        self.tasks: set[object] = set()
        self.is_closed = False

    async def infer(self) -> AsyncIterator[Outcomes]:
        try:
            self.tasks.add(asyncio.current_task())
            while (item := await self.items.get()) is not None:
                self.tasks.add(asyncio.current_task())
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self.is_closed = True


async def test_a_class_that_is_silent_for_long_is_named_and_the_rest_follows() -> None:
    held = Held()
    stream = stream_named(held.infer(), "replica-1", named_after_s=1e-6)
    async with asyncio.timeout(20):
        assert await anext(stream) == Outcomes("replica-1", 0)
        held.items.put_nowait(Outcomes("", 7))
        held.items.put_nowait(Outcomes("mine", 8))
        held.items.put_nowait(None)
        assert [each async for each in stream] == [
            Outcomes("replica-1", 7),
            Outcomes("replica-1", 8),
        ]
    assert held.is_closed
    # A timeout or a task group may stand around its yields.
    assert len(held.tasks) == 1


async def test_what_a_class_raises_comes_through_behind_its_outcomes() -> None:
    held = Held()
    held.items.put_nowait(Outcomes("", 7))
    held.items.put_nowait(RuntimeError("broken"))
    stream = stream_named(held.infer(), "replica-1", named_after_s=3600.0)
    async with asyncio.timeout(20):
        assert (await anext(stream)).window_records == 7
        with pytest.raises(RuntimeError, match="broken"):
            await anext(stream)


@pytest.mark.parametrize("is_started", [True, False])
async def test_a_class_is_closed_with_the_stream(is_started: bool) -> None:
    held = Held()
    stream = stream_named(held.infer(), "replica-1", named_after_s=1e-6)
    async with asyncio.timeout(20):
        await anext(stream)
        if is_started:
            held.items.put_nowait(Outcomes("", 7))
            await anext(stream)
        await stream.aclose()
    assert held.is_closed
