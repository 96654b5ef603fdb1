"""YAML in the documentation has keys and values that the settings have."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.settings.file import parse_settings
from headrace.settings.outline import Place, find_place
from schemas.settings.file import Settings
from tests.snippets import blocks

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def settings_in(page: Path) -> list[dict[str, Any]]:
    """Return the blocks of a page that are settings, whole or in part."""
    found = []
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language != "yaml":
            continue
        found += [
            document
            for document in yaml.safe_load_all(block.text)
            if isinstance(document, dict) and set(document) <= set(Settings.model_fields)
        ]
    return found


def problems_of(value: Any, location: tuple[Any, ...] = ()) -> Iterator[str]:
    """Yield what of a part of the settings no settings file could have."""
    place = find_place(location)
    if isinstance(value, dict):
        if location and not place.options and not place.kinds:
            yield f"{_dotted(location)}: there is no such key"
            return
        below = location
        if place.kinds and isinstance(value.get("kind"), str):
            if value["kind"] not in place.kinds:
                yield f"{_dotted(location)}.kind: no kind {value['kind']}"
                return
            below = (*location, value["kind"])
        elif place.kinds:
            # A part of a model says no kind: one of them has the key.
            yield from _of_any_kind(place, value, location)
            return
        known = find_place(below)
        for key, each in value.items():
            if known.keys and key not in known.keys and not _takes_names(known):
                yield f"{_dotted((*location, key))}: there is no such key"
            elif known.keys or _takes_names(known):
                yield from problems_of(each, (*below, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from problems_of(each, (*location, index))
    elif place.values and _lists_all(place) and str(value) not in place.values:
        yield f"{_dotted(location)}: {value!r} is none of {', '.join(place.values)}"


def _of_any_kind(place: Place, value: dict[str, Any], location: tuple[Any, ...]) -> Iterator[str]:
    for key in value:
        if not any(key in option.get("properties", ()) for option in place.kinds.values()):
            yield f"{_dotted((*location, key))}: there is no such key"


def _takes_names(place: Place) -> bool:
    return any(
        isinstance(option.get("additionalProperties"), dict) or "patternProperties" in option
        for option in place.options
    )


def _lists_all(place: Place) -> bool:
    return all({"enum", "const"} & option.keys() for option in place.options)


def _dotted(location: tuple[Any, ...]) -> str:
    return ".".join(map(str, location))


def is_whole(document: dict[str, Any]) -> bool:
    """Tell whether a block could be a file of its own: its routes are complete."""
    routes = document.get("routes") or {}
    complete = {"model", "requests_topic", "results_topic", "dead_letters_topic", "group"}
    return (
        "models" in document
        and bool(routes)
        and all(isinstance(each, dict) and complete <= set(each) for each in routes.values())
        and all(route["model"] in document["models"] for route in routes.values())
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_keys_and_values_exist(page: Path) -> None:
    problems = [each for document in settings_in(page) for each in problems_of(document)]

    assert problems == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_whole_file_is_legal(page: Path) -> None:
    for document in settings_in(page):
        if is_whole(document):
            parse_settings(yaml.safe_dump(document).encode())


def test_pages_have_settings() -> None:
    found = [document for page in PAGES for document in settings_in(page)]

    assert len(found) > 15
    assert any(map(is_whole, found))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("kafka: {bootstrp: a}", "kafka.bootstrp: there is no such key"),
        ("routes: {a: {flow: {max_record: 1}}}", "routes.a.flow.max_record: there is no such key"),
        ("models: {a: {kind: embeder}}", "models.a.kind: no kind embeder"),
        ("models: {a: {kind: embedder, engines: 1}}", "models.a.engines: there is no such key"),
        ("models: {a: {replica: 1}}", "models.a.replica: there is no such key"),
        ("logging: {format: text}", "logging.format: 'text' is none of plain, json"),
    ],
)
def test_what_is_wrong_is_noticed(text: str, problem: str) -> None:
    assert list(problems_of(yaml.safe_load(text))) == [problem]
