"""docs/settings.md lists every key of the settings, and is up to date."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import Field

from headrace.settings.field_texts import bounds_text, default_text, sections_in, type_text
from headrace.settings.reference import settings_page
from schemas.settings.file import Settings
from schemas.settings.section import Section

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"


def all_sections(section: type[Section], seen: set[type[Section]]) -> Iterator[type[Section]]:
    if section in seen:
        return
    seen.add(section)
    yield section
    for field in section.model_fields.values():
        for _suffix, below in sections_in(field.annotation):
            for each in below:
                yield from all_sections(each, seen)


SECTIONS = list(all_sections(Settings, set()))


def test_the_page_is_of_these_settings() -> None:
    assert PAGE.read_text(encoding="utf-8") == settings_page(), "run `make docs`"


def test_each_section_is_found() -> None:
    assert len(SECTIONS) > 30


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_each_key_has_a_sentence_and_a_row(section: type[Section]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name, field in section.model_fields.items():
        assert field.description, f"{section.__name__}.{name} has no description"
        assert field.description.rstrip().endswith((".", ")")), f"{section.__name__}.{name}"
        if section is not Settings:
            assert f"\n| `{name}` | " in page


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_each_key_has_a_type_in_words(section: type[Section]) -> None:
    for name, field in section.model_fields.items():
        text = type_text(field.annotation)
        assert "typing" not in text, name
        assert "<" not in text, name


def test_rows_have_as_many_cells_as_their_head() -> None:
    for table in re.findall(r"(?:^\|.*\n)+", PAGE.read_text(encoding="utf-8"), re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table


class _Example(Section):
    count: int = Field(default=3, ge=1, le=2_000, description="A count.")
    share: float | None = Field(default=None, gt=0, lt=1, description="A share.")
    size_bytes: int = Field(default=2**20, description="A size.")
    names: tuple[str, ...] = Field(default=(), min_length=0, description="Names.")
    label: str = Field(min_length=1, max_length=9, description="A label.")
    is_on: bool = Field(default=True, description="A switch.")


def test_fields_in_words() -> None:
    fields = _Example.model_fields
    told = {
        name: (type_text(each.annotation), default_text(name, each), bounds_text(each))
        for name, each in fields.items()
    }

    assert told == {
        "count": ("whole number", "`3`", "from 1 to 2,000"),
        "share": ("number", "", "over 0 below 1"),
        "size_bytes": ("whole number", "`1048576` (1 MiB)", ""),
        "names": ("list of texts", "`[]`", "from 0 entries"),
        "label": ("text", "required", "from 1 to 9 characters"),
        "is_on": ("true or false", "`true`", ""),
    }
