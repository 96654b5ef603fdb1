import json
from pathlib import Path
from typing import Any

import pytest

from serve_models.weights.fetching.images import fetch_image
from serve_models.weights.fetching.request import Fetched, Request, Unwatched
from serve_models.weights.receipts import Receipt
from serve_models.weights.references import ModelSourceError, parse_source
from tests.checkpoints import read_files, safetensors, sharded
from tests.unit.serve_models.weights.registry_layers import Repository, digest_of

SOURCE = parse_source("oci:registry.example/org/chat:1")
REQUEST = Request("weights", with_code=False, most_bytes=10**9, is_forced=False)


class Registry:
    """Stands in for ``registries.Registry``: the blobs of a repository."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.read_bytes = 0
        self.breaks_at: int | None = None

    def manifest(self, reference: str) -> tuple[dict[str, Any], str]:
        assert reference == "1"
        return self.repository.manifest, digest_of(json.dumps(self.repository.manifest).encode())

    def read_blob(self, digest: str, start: int, end: int) -> bytes:
        if self.breaks_at is not None and self.read_bytes >= self.breaks_at:
            raise ModelSourceError("source: the network is away")
        self.read_bytes += end - start
        return self.repository.blobs[digest][start:end]

    def close(self) -> None:
        pass


@pytest.fixture
def repository() -> Repository:
    return Repository()


def fetch(
    repository: Repository,
    cache: Path,
    request: Request = REQUEST,
    registry: Registry | None = None,
    known: Receipt | None = None,
) -> Fetched:
    answering: Any = registry or Registry(repository)
    return fetch_image(SOURCE, cache, request, Unwatched(), known, registry=answering)


@pytest.mark.parametrize(
    "annotation", ["org.opencontainers.image.title", "org.cncf.model.filepath"]
)
def test_an_artifacts_layers_are_files(
    repository: Repository, tmp_path: Path, annotation: str
) -> None:
    repository.add_files({**sharded(), "README.md": b"#", "model.bin": b"pickle"}, annotation)

    fetched = fetch(repository, tmp_path)

    assert read_files(tmp_path / fetched.directory) == sharded()
    assert fetched.fetched_bytes == sum(map(len, sharded().values()))


def test_an_artifact_that_has_not_changed_is_not_read(
    repository: Repository, tmp_path: Path
) -> None:
    repository.add_files(sharded())
    first = fetch(repository, tmp_path)
    known = Receipt(
        source=SOURCE.text,
        revision=first.revision,
        directory=first.directory,
        files=first.files,
    )
    registry = Registry(repository)

    assert fetch(repository, tmp_path, registry=registry, known=known).fetched_bytes == 0
    assert registry.read_bytes == 0


def test_an_interrupted_pull_goes_on(repository: Repository, tmp_path: Path) -> None:
    repository.add_files(sharded(count_bytes=5000))
    registry = Registry(repository)
    registry.breaks_at = 8000

    with pytest.raises(ModelSourceError, match="the network is away"):
        fetch(repository, tmp_path, registry=registry)
    assert not [path for path in tmp_path.rglob("config.json") if "partial" not in str(path)]
    came_bytes, registry.breaks_at = registry.read_bytes, None
    fetched = fetch(repository, tmp_path, registry=registry)

    assert 0 < fetched.fetched_bytes <= registry.read_bytes - came_bytes
    assert registry.read_bytes - came_bytes < sum(map(len, sharded(count_bytes=5000).values()))
    assert read_files(tmp_path / fetched.directory) == sharded(count_bytes=5000)


def test_an_image_has_its_model_somewhere_among_other_files(
    repository: Repository, tmp_path: Path
) -> None:
    repository.add_image(("etc/", None), ("etc/passwd", b"root"), ("models/", None))
    repository.add_image(*[(f"models/{path}", content) for path, content in sharded().items()])

    fetched = fetch(repository, tmp_path)

    assert read_files(tmp_path / fetched.directory) == sharded()
    assert set(fetched.files) == set(sharded())


def test_a_later_layer_replaces_and_removes(repository: Repository, tmp_path: Path) -> None:
    repository.add_image(
        ("models/config.json", b"old"),
        ("models/old.safetensors", safetensors()),
        ("old/config.json", b"{}"),
        ("old/model.safetensors", safetensors()),
    )
    repository.add_image(
        ("models/config.json", b"{}"),
        ("models/model.safetensors", safetensors(20)),
        ("models/.wh.old.safetensors", b""),
        ("old/.wh..wh..opq", b""),
    )

    fetched = fetch(repository, tmp_path)

    assert read_files(tmp_path / fetched.directory) == {
        "config.json": b"{}",
        "model.safetensors": safetensors(20),
    }


def test_links_of_a_hubs_cache_in_an_image_are_followed(
    repository: Repository, tmp_path: Path
) -> None:
    repository.add_image(
        ("hub/blobs/aa", safetensors()),
        ("hub/blobs/bb", b"{}"),
        links={
            "hub/snapshots/1/model.safetensors": "../../blobs/aa",
            "hub/snapshots/1/config.json": "../../blobs/bb",
            "hub/snapshots/1/tokenizer.json": "../../blobs/bb",
            "hub/snapshots/1/secret.json": "/etc/passwd",
            "hub/snapshots/1/out.json": "../../../../out.json",
        },
    )

    fetched = fetch(repository, tmp_path)

    assert read_files(tmp_path / fetched.directory) == {
        "config.json": b"{}",
        "model.safetensors": safetensors(),
        "tokenizer.json": b"{}",
    }


def test_nothing_is_written_outside(repository: Repository, tmp_path: Path) -> None:
    repository.add_image(
        ("../../../../../../escaped.json", b"{}"),
        ("/absolute.json", b"{}"),
        ("m/config.json", b"{}"),
        ("m/model.safetensors", safetensors()),
        ("../.wh.cache", b""),
    )

    with pytest.raises(ModelSourceError, match="leads out"):
        fetch(repository, tmp_path / "cache")
    assert not list(tmp_path.rglob("escaped.json"))


def test_an_archive_that_unpacks_to_too_much_is_refused(
    repository: Repository, tmp_path: Path
) -> None:
    repository.add_image(("m/config.json", b"{}"), ("m/model.safetensors", safetensors(200_000)))

    with pytest.raises(ModelSourceError, match="unpacks to more"):
        fetch(repository, tmp_path, REQUEST._replace(most_bytes=100_000))


def test_a_tokenizer_in_an_image_needs_no_model(repository: Repository, tmp_path: Path) -> None:
    repository.add_image(("t/tokenizer_config.json", b"{}"), ("t/tokenizer.json", b"{}"))

    fetched = fetch(repository, tmp_path, REQUEST._replace(part="tokenizer"))

    assert set(read_files(tmp_path / fetched.directory)) == {
        "tokenizer.json",
        "tokenizer_config.json",
    }
    with pytest.raises(ModelSourceError, match="no config"):
        fetch(repository, tmp_path, REQUEST._replace(part="config"))


def test_a_damaged_blob_is_refused(repository: Repository, tmp_path: Path) -> None:
    repository.add_files(sharded())
    digest = repository.layers[0]["digest"]
    repository.blobs[digest] = repository.blobs[digest][:-1] + b"?"

    with pytest.raises(ModelSourceError, match="another sha256"):
        fetch(repository, tmp_path)


def test_an_image_without_a_model_says_so(repository: Repository, tmp_path: Path) -> None:
    repository.add_image(("etc/passwd", b"root"))
    with pytest.raises(ModelSourceError, match="carries no model"):
        fetch(repository, tmp_path)
    with pytest.raises(ModelSourceError, match="there are no"):
        fetch(Repository(), tmp_path)


def test_layers_that_cannot_be_unpacked_say_what_can(
    repository: Repository, tmp_path: Path
) -> None:
    repository.add(b"\x28\xb5\x2f\xfd zstd", "application/vnd.oci.image.layer.v1.tar+zstd")
    with pytest.raises(ModelSourceError, match=r"tar or tar\+gzip"):
        fetch(repository, tmp_path)
