"""Weights from object stores, by their own clients, against a server that speaks their APIs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from serve_models.weights.fetching import transfers
from serve_models.weights.pulling import pull
from serve_models.weights.references import ModelSourceError
from serve_models.weights.sources import resolve
from tests.checkpoints import read_files, sharded
from tests.integration.weights.bucket_server import BucketServer, running

FILES = sharded(count_bytes=50_000)
SHARD = "models/chat/model-00002-of-00003.safetensors"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[BucketServer]:
    objects = {f"models/chat/{path}": content for path, content in FILES.items()}
    others = {"models/chat/pytorch_model.bin": b"pickle", "models/chat-2/config.json": b"{}"}
    with running(BucketServer({**objects, **others})) as bucket:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.url)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", bucket.url)
        yield bucket


@pytest.fixture(params=["s3", "gs"])
def source(request: pytest.FixtureRequest, bucket: BucketServer) -> str:
    package = {"s3": "s3fs", "gs": "gcsfs"}[request.param]
    pytest.importorskip(package, reason=f"headrace[{request.param}] is not installed")
    return f"{request.param}://bucket/models/chat"


def test_a_prefix_is_pulled_in_ranges_and_found(
    bucket: BucketServer, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "PIECE_BYTES", 20_000)

    pulled = pull(source, tmp_path)

    assert read_files(pulled.directory) == FILES
    assert resolve(source, tmp_path) == pulled.directory
    assert len([asked for key, asked in bucket.ranges if key == SHARD]) == 3
    assert pull(source, tmp_path).done == "here"
    assert not [key for key, _ in bucket.ranges if "chat-2" in key or key.endswith(".bin")]


def test_an_object_that_arrives_damaged_is_refused(
    bucket: BucketServer, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = transfers._Copy._read_piece
    monkeypatch.setattr(
        transfers._Copy,
        "_read_piece",
        lambda copy, start, end: read(copy, start, end)[:-1] + b"?",
    )
    with pytest.raises(ModelSourceError, match="arrived with another md5"):
        pull(source, tmp_path)


def test_what_is_not_there_says_so(source: str, tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match=r"there are no|could not be read"):
        pull(source + "-missing", tmp_path)
