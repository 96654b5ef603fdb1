"""How wide vectors are is read from a checkpoint's files, as its modules would give them."""

import json
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Pooling

from serve_models.text.models.vector_widths import read_vector_width


def test_the_last_module_with_a_width_counts(minilm_path: Path, tmp_path: Path) -> None:
    assert read_vector_width(minilm_path) == 384
    library = SentenceTransformer(str(minilm_path), device="cpu")
    library[1] = Pooling(384, pooling_mode=("cls", "mean"))
    library.save_pretrained(str(tmp_path / "two"))
    assert read_vector_width(tmp_path / "two") == 768
    library.append(Dense(768, 96))
    library.save_pretrained(str(tmp_path / "dense"))
    assert read_vector_width(tmp_path / "dense") == 96


@pytest.mark.parametrize(
    ("files", "width"),
    [
        ({"config.json": {"hidden_size": 768}}, 768),
        ({"config.json": {"hidden_size": "768"}}, None),
        ({"config.json": [1]}, None),
        ({}, None),
        (
            {
                "modules.json": [{"path": ""}, {"path": "1_Pooling"}],
                "config.json": {"hidden_size": 8},
                "1_Pooling/config.json": {
                    "word_embedding_dimension": 8,
                    "pooling_mode_cls_token": True,
                    "pooling_mode_max_tokens": False,
                    "pooling_mode_mean_tokens": True,
                },
            },
            16,
        ),
    ],
)
def test_files_of_any_age_are_read(
    tmp_path: Path, files: dict[str, Any], width: int | None
) -> None:
    for name, content in files.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content), encoding="utf-8")
    assert read_vector_width(tmp_path) == width
