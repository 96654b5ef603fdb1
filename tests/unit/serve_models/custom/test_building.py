import sys
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

import pytest

from handoff.chunk import Chunk, Outcomes
from headrace.sdk import BatchedModel
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


class NoRecords(BatchedModel):
    max_batch_records = 0


class HalfASize(BatchedModel):
    max_batch_size = 10.5  # type: ignore[assignment] # a user's slip


class NoThreads(BatchedModel):
    def load(self) -> None:
        self.parallel_batches = 0


class LingersBack(BatchedModel):
    outcome_linger_ms = -1.0


class Awaited(BatchedModel):
    async def predict(self, bodies: list[Any]) -> list[Any]:  # type: ignore[override] # as above
        return bodies


@pytest.fixture(autouse=True)
def user_module(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("users_models")
    classes = (Upper, NoGenerator, NoRecords, HalfASize, NoThreads, LingersBack, Awaited)
    vars(module).update({each.__name__: each for each in classes})
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
        (custom("users_models:NoRecords"), "NoRecords.max_batch_records is 0; set a whole"),
        (custom("users_models:HalfASize"), "HalfASize.max_batch_size is 10.5; set a whole"),
        (custom("users_models:NoThreads"), "NoThreads.parallel_batches is 0; set a whole"),
        (custom("users_models:LingersBack"), "LingersBack.outcome_linger_ms is -1.0; set"),
        (custom("users_models:Awaited"), "Awaited.predict is async"),
    ],
)
def test_a_class_that_cannot_be_used_says_why(settings: CustomModelSettings, words: str) -> None:
    with pytest.raises(CustomModelError, match=words):
        build_custom_model(settings)
