"""A checkpoint's own code runs only where the settings trust it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from transformers import BertConfig, BertForSequenceClassification, dynamic_module_utils

from schemas.settings.models import ClassifierSettings
from serve_models.text.models.classification import ClassificationModel
from tests.unit.serve_models.checkpoints import save_tiny

RAN = "HEADRACE_TEST_CODE_RAN"
CODE = f"""
import os
from transformers import BertConfig, BertForSequenceClassification

os.environ["{RAN}"] = "yes"

class OwnConfig(BertConfig):
    model_type = "headrace-own"

class OwnModel(BertForSequenceClassification):
    config_class = OwnConfig
"""


@pytest.fixture
def path(minilm_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(RAN, raising=False)
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    config = BertConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2
    )
    make: Any = BertForSequenceClassification
    path = save_tiny(make(config), minilm_path, tmp_path / "checkpoint")
    values = json.loads((path / "config.json").read_text())
    values["model_type"] = "headrace-own"
    values["auto_map"] = {
        "AutoConfig": "own.OwnConfig",
        "AutoModelForSequenceClassification": "own.OwnModel",
    }
    (path / "config.json").write_text(json.dumps(values))
    (path / "own.py").write_text(CODE)
    return path


def load(path: Path, **keys: object) -> ClassificationModel:
    settings = {"kind": "classifier", "source": f"path:{path}", **keys}
    return ClassificationModel(path, ClassifierSettings.model_validate(settings), "cpu")


def test_code_does_not_run_unless_it_is_trusted(path: Path) -> None:
    with pytest.raises(ValueError, match=r"custom code|trust_remote_code|cannot be loaded"):
        load(path)
    assert RAN not in os.environ


def test_trusted_code_runs(path: Path) -> None:
    model = load(path, trust_remote_code=True)

    assert os.environ[RAN] == "yes"
    assert len(model.labels) == 2
