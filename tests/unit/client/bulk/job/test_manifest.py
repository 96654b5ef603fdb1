from dataclasses import replace
from pathlib import Path

import pytest

from headrace_client.bulk.job.state.manifest import (
    Difference,
    Manifest,
    ManifestError,
    check_same_job,
    differences,
    read_manifest,
    write_manifest,
)

MANIFEST = Manifest(
    job="nightly-6f0c",
    created_at_ms=1_700_000_000_000,
    fingerprint={
        "endpoint": "/v1/embeddings",
        "parameters": {"dimensions": 128, "prompt_name": None},
        "columns": ["title", "body"],
    },
    inputs=({"url": "a.jsonl", "size_bytes": 12},),
)


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_manifest(tmp_path / "manifest.json", MANIFEST)
    assert read_manifest(tmp_path / "manifest.json") == MANIFEST
    assert [each.name for each in tmp_path.iterdir()] == ["manifest.json"]


def test_no_manifest_is_no_job(tmp_path: Path) -> None:
    assert read_manifest(tmp_path / "manifest.json") is None


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"{", "cannot be read"), (b"[]", "another release"), (b'{"format": 99}', "another release")],
)
def test_a_manifest_that_cannot_be_read_says_what_to_do(
    tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=says) as raised:
        read_manifest(path)
    assert "--restart" in str(raised.value)


def test_differences_name_the_field_and_both_values() -> None:
    other = {
        "endpoint": "/v1/embeddings",
        "parameters": {"dimensions": 256, "prompt_name": "query"},
        "columns": ["title", "body"],
    }
    assert differences(MANIFEST.fingerprint, other) == [
        Difference("parameters.dimensions", 128, 256),
        Difference("parameters.prompt_name", None, "query"),
    ]


def test_a_field_that_is_unset_equals_one_that_is_missing() -> None:
    assert differences({"parameters": {"dimensions": None}}, {"parameters": {}}) == []


def test_tuples_equal_the_lists_that_json_makes_of_them() -> None:
    assert differences({"columns": ["a"]}, {"columns": ("a",)}) == []


def test_another_job_in_the_same_place_is_an_error_that_says_what_differs() -> None:
    fingerprint = {**MANIFEST.fingerprint, "endpoint": "/classify", "template": "x" * 200}
    with pytest.raises(ManifestError) as raised:
        check_same_job(MANIFEST, fingerprint, Path("out.headrace"))
    message = str(raised.value)
    assert 'endpoint: "/v1/embeddings" there, "/classify" here' in message
    assert "template: unset there" in message
    assert "x" * 100 not in message
    assert "--restart" in message
    check_same_job(replace(MANIFEST, job="other"), MANIFEST.fingerprint, Path("out.headrace"))
