"""The settings of docs/models.md are legal, each with the routes that the page has for all."""

from pathlib import Path

import pytest

from headrace.settings.file import parse_settings
from schemas.settings.models import GeneratorSettings
from tests.snippets import blocks

PAGE = Path(__file__).parents[3] / "docs" / "models.md"
FILES = {
    block.marks["file"]: block.text
    for block in blocks(PAGE.read_text(encoding="utf-8"))
    if "file" in block.marks
}


@pytest.mark.parametrize("file", sorted(set(FILES) - {"routes.yaml"}))
def test_a_settings_file_of_the_page_is_legal(file: str) -> None:
    settings = parse_settings((FILES[file] + FILES["routes.yaml"]).encode())
    model = settings.models["chat"]
    assert isinstance(model, GeneratorSettings)
    assert model.num_gpus == 1


def test_each_of_the_six_has_settings() -> None:
    names = ("adapters", "pictures", "quantised", "reasoning", "routes", "speculation", "tools")
    assert sorted(FILES) == [f"{name}.yaml" for name in names]
