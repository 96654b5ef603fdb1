import sys
from collections.abc import AsyncIterator
from types import ModuleType

import pytest

from handoff.chunk import Chunk, Outcomes
from schemas.settings.models import CustomModelSettings
from serve_models.custom.building import CustomModelError, build_custom_model


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
