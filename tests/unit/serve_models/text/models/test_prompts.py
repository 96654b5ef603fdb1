"""Which prompt goes before a text, by the name that a request or a role has for it."""

from collections.abc import Mapping

import pytest

from serve_models.text.models.prompts import Prompts, Role

LIBRARY = {"query": "", "document": ""}
"""What Sentence Transformers puts into every model."""


@pytest.mark.parametrize(
    ("checkpoint", "settings", "role", "prompt"),
    [
        (LIBRARY, {}, "document", ""),
        (LIBRARY, {"passage": "passage: "}, "document", "passage: "),
        (LIBRARY, {"corpus": "c: "}, "document", "c: "),
        (LIBRARY, {"search_query": "q: "}, "query", "q: "),
        (LIBRARY, {"document": "", "passage": "passage: "}, "document", "passage: "),
        ({"document": "doc: "}, {"document": ""}, "document", ""),
        ({"document": "doc: "}, {"passage": "passage: "}, "document", "passage: "),
        # As the library takes them.
        ({"document": "", "passage": "passage: "}, {}, "document", ""),
        ({"passage": "passage: "}, {}, "document", "passage: "),
        ({}, {}, "document", "any: "),
    ],
)
def test_a_role_has_the_settings_prompt_before_the_checkpoints(
    checkpoint: Mapping[str, str], settings: Mapping[str, str], role: Role, prompt: str
) -> None:
    prompts = Prompts({"any": "any: ", **checkpoint}, settings, "any")
    assert prompts.of_role(role) == prompt


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("query", "query: "),
        ("search_query", "query: "),
        ("document", "passage: "),
        ("search_document", "passage: "),
        ("passage", "passage: "),
        ("corpus", "passage: "),
        ("clustering", "cluster: "),
        ("classification", None),
        ("own", ""),
        (None, "query: "),
    ],
)
def test_the_names_of_a_role_stand_for_each_other(name: str | None, prompt: str | None) -> None:
    checkpoint = {**LIBRARY, "clustering": "cluster: ", "own": ""}
    prompts = Prompts(checkpoint, {"query": "query: ", "passage": "passage: "}, "query")
    assert prompts.find(name) == prompt
    assert prompts.find_or_default(name) == ("query: " if prompt is None else prompt)
