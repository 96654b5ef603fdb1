"""Weights from a hub, by its own library, against a server that speaks its API."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import orjson
import pytest

from schemas.settings.sources import WeightSource
from serve_models.weights.fetching.request import Unwatched
from serve_models.weights.pulling import pull
from serve_models.weights.references import ModelSourceError
from serve_models.weights.sources import resolve
from tests.checkpoints import read_files, safetensors, sharded
from tests.integration.weights.hub_server import HubServer, running

REPOSITORY = {
    **sharded(count_bytes=300_000),
    "README.md": b"# A model",
    "pytorch_model.bin": b"pickle",
    "consolidated.safetensors": safetensors(500_000),
    "original/model.safetensors": safetensors(500_000),
    "onnx/model.onnx": b"onnx",
    "modeling_custom.py": b"raise SystemExit",
    "qwen.tiktoken": b"YQ== 0",
}
WANTED = {**sharded(count_bytes=300_000), "qwen.tiktoken": b"YQ== 0"}
SHARD = "model-00002-of-00003.safetensors"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    hub = HubServer()
    hub.commit(REPOSITORY)
    with running(hub):
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
        yield hub


class Counted(Unwatched):
    def __init__(self) -> None:
        self.total_bytes = 0
        self.came_bytes = 0

    def begin(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes

    def advance(self, count_bytes: int) -> None:
        self.came_bytes += count_bytes


def test_one_format_of_the_weights_comes_and_is_counted(hub: HubServer, tmp_path: Path) -> None:
    progress = Counted()

    pulled = pull("hub:org/model", tmp_path / "cache", progress=progress)

    assert read_files(pulled.directory) == WANTED
    assert pulled.revision == hub.branch
    assert pulled.fetched_bytes == progress.total_bytes == progress.came_bytes
    assert resolve("hub:org/model", tmp_path / "cache") == pulled.directory
    assert {path for path, _ in hub.gets} == set(WANTED)


def test_what_is_here_is_not_fetched_again_and_a_moved_branch_brings_what_changed(
    hub: HubServer, tmp_path: Path
) -> None:
    first = pull("hub:org/model", tmp_path)
    assert pull("hub:org/model", tmp_path).done == "here"
    assert hub.got(SHARD) == 1
    hub.commit({**REPOSITORY, "config.json": b'{"a": 1}'})

    second = pull("hub:org/model", tmp_path)

    assert second.done == "fetched"
    assert second.directory != first.directory
    assert (second.directory / "config.json").read_bytes() == b'{"a": 1}'
    # The library keeps equal files once.
    assert hub.got(SHARD) == 1
    assert read_files(first.directory) == WANTED


def test_a_connection_that_breaks_goes_on_in_the_middle_of_a_file(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _s: None)
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 50_000)
    hub.cuts[SHARD] = [100_000]

    pulled = pull("hub:org/model", tmp_path)

    assert read_files(pulled.directory) == WANTED
    ranges = [asked for path, asked in hub.gets if path == SHARD]
    assert len(ranges) == 2
    assert str(ranges[1]).startswith("bytes=")


def test_without_the_network_a_copy_stays_in_use(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = pull("hub:org/model", tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")

    kept = pull("hub:org/model", tmp_path)

    assert (kept.done, kept.directory) == ("kept", here.directory)
    assert "could not be fetched" in kept.why_kept


def test_a_damaged_file_is_refused_and_comes_anew(hub: HubServer, tmp_path: Path) -> None:
    hub.damaged = {SHARD}
    with pytest.raises(ModelSourceError, match=f"{SHARD} is not as the hub lists it"):
        pull("hub:org/model", tmp_path)
    with pytest.raises(ModelSourceError, match="not on this machine"):
        resolve("hub:org/model", tmp_path)
    hub.damaged = set()

    assert read_files(pull("hub:org/model", tmp_path).directory) == WANTED
    assert hub.got("config.json") == 1
    assert hub.got(SHARD) == 2


def test_code_and_a_tokenizer_come_where_the_settings_want_them(
    hub: HubServer, tmp_path: Path
) -> None:
    tokenizer = WeightSource("engine_args.tokenizer", "hub:org/model", "tokenizer")
    small = pull(tokenizer, tmp_path)
    assert not hub.got(SHARD)
    assert resolve(tokenizer, tmp_path) == small.directory

    trusted = WeightSource("source", f"hub:org/model@{hub.branch}", trusts_code=True)
    assert "modeling_custom.py" in read_files(pull(trusted, tmp_path).directory)


@pytest.mark.parametrize("source", ["hub:org/other", "hub:org/model@no-such-branch"])
def test_what_is_not_there_says_so(hub: HubServer, tmp_path: Path, source: str) -> None:
    with pytest.raises(ModelSourceError, match=r"could not be fetched: .*404.*; check the name"):
        pull(source, tmp_path)


def test_a_private_repository_needs_its_token_and_never_shows_it(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token = "hf_secret"
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(ModelSourceError, match="HF_TOKEN") as caught:
        pull("hub:org/model", tmp_path)
    assert "hf_wrong" not in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")

    assert pull("hub:org/model", tmp_path).done == "fetched"


def test_a_pull_that_is_killed_goes_on_with_the_next_and_is_never_taken_for_complete(
    hub: HubServer, tmp_path: Path
) -> None:
    hub.hold.clear()
    # An engine that another test started in this process has switched the hub off.
    environment = {
        **{name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"},
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf"),
        "HEADRACE_CACHE": str(tmp_path / "cache"),
        "HEADRACE_CONFIG": str(tmp_path / "none.yaml"),
    }
    command = [sys.executable, "-c", "from headrace.cli import main; main()", "models"]
    killed = subprocess.Popen([*command, "pull", "hub:org/model"], env=environment)
    assert hub.held.wait(60)
    killed.send_signal(signal.SIGKILL)
    killed.wait(30)
    hub.hold.set()
    with pytest.raises(ModelSourceError, match="not on this machine"):
        resolve("hub:org/model", tmp_path / "cache")

    done = subprocess.run(
        [*command, "pull", "hub:org/model", "--json"],
        env=environment,
        capture_output=True,
        check=True,
        timeout=300,
    )

    [outcome] = orjson.loads(done.stdout)
    assert outcome["done"] == "fetched"
    assert read_files(Path(outcome["path"])) == WANTED
    checked = subprocess.run(
        [*command, "check", "hub:org/model", "--json"],
        env=environment,
        capture_output=True,
        check=True,
        timeout=300,
    )
    [standing] = orjson.loads(checked.stdout)
    assert (standing["state"], standing["checksums"]) == ("here", "right")
