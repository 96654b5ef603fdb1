"""Weights from an OCI registry, over HTTP."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve_models.weights.fetching import transfers
from serve_models.weights.pulling import pull
from serve_models.weights.references import ModelSourceError
from serve_models.weights.sources import resolve
from tests.checkpoints import read_files, sharded
from tests.integration.weights.registry_server import PASSWORD, USER, RegistryServer, running
from tests.unit.serve_models.weights.registry_layers import Repository, digest_of


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[RegistryServer]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    repository = Repository()
    repository.add_files(sharded(count_bytes=50_000))
    with running(RegistryServer(repository)) as registry:
        yield registry


@pytest.mark.parametrize("indexed", [False, True])
def test_an_artifact_is_pulled_by_tag_and_by_digest(
    registry: RegistryServer, tmp_path: Path, indexed: bool
) -> None:
    registry.indexed = indexed
    top = digest_of(registry.manifests["1"])

    for source in (registry.source, f"{registry.source}:1", f"{registry.source}@{top}"):
        pulled = pull(source, tmp_path / "cache")
        assert pulled.done == "fetched"
        assert read_files(pulled.directory) == sharded(count_bytes=50_000)
        assert resolve(source, tmp_path / "cache") == pulled.directory
    assert pull(f"{registry.source}:1", tmp_path / "cache").done == "here"


def test_blobs_come_in_ranges_and_their_store_never_sees_the_token(
    registry: RegistryServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "PIECE_BYTES", 20_000)

    pulled = pull(registry.source, tmp_path / "cache")

    assert read_files(pulled.directory) == sharded(count_bytes=50_000)
    assert len(registry.blob_headers) > len(sharded())
    assert all("authorization" not in headers for headers in registry.blob_headers)


def test_a_private_repository_is_read_with_dockers_credentials(
    registry: RegistryServer, tmp_path: Path
) -> None:
    registry.login = True
    with pytest.raises(ModelSourceError, match=r"refuses a token.*DOCKER_CONFIG"):
        pull(registry.source, tmp_path / "cache")
    pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    host = f"127.0.0.1:{registry.port}"
    (tmp_path / "config.json").write_text(json.dumps({"auths": {host: {"auth": pair}}}))

    assert pull(registry.source, tmp_path / "cache").done == "fetched"
    assert registry.logins[-1] == f"Basic {pair}"


def test_a_digest_that_the_registry_does_not_keep_is_refused(
    registry: RegistryServer, tmp_path: Path
) -> None:
    with pytest.raises(ModelSourceError, match="answers 404"):
        pull(f"{registry.source}@sha256:{'1' * 64}", tmp_path / "cache")
    with pytest.raises(ModelSourceError, match="answers 404"):
        pull(f"{registry.source}:2", tmp_path / "cache")
